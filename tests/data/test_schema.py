"""Whatever a row holds, it becomes an example or a counted skip."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmpref.data.sources import Source
from mmpref.errors import InputError
from mmpref.tables.headings import unfolded
from mmpref.tables.messages import MARK, shape_of
from mmpref.tables.parts import answer_column
from mmpref.tables.rows import read_row
from mmpref.tables.table import Table
from mmpref.types import Example, Skip

REASONS = {
    "no-image",
    "empty-prompt",
    "empty-answer",
    "turn-order",
    "image-placement",
    "bad-image",
    "missing-image",
    "malformed",
    "not-read",
    "image-url",
}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "PNG")
    return buffer.getvalue()


CELL = {"bytes": png(), "path": "photos/a.png"}


def outcomes(*rows: dict[str, Any], root: Path | None = None) -> list[Example | Skip]:
    table = Table("me/rows", "train", None, "1", None, lambda: iter(rows), root)
    return [outcome for _, block in Source(table).blocks(2, lambda _: True) for outcome in block]


def text(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}, {"role": "assistant", "content": "A cup."}]


def blocks(*parts: str | None) -> list[dict[str, Any]]:
    content = [{"type": "image", "text": None} if part is None else {"type": "text", "text": part} for part in parts]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": "A cup."}]


@pytest.mark.parametrize(
    ("messages", "images", "outcome"),
    [
        (text("What?"), 1, "What?"),
        (text("What?"), 2, "What?"),
        (text(f"{MARK}\nWhat?"), 1, "What?"),
        (text(f"What?\n{MARK}"), 1, "What?"),
        (text(f"{MARK}{MARK} \nWhat?"), 2, "What?"),
        (text(f"{MARK}\nWhat?\n{MARK}"), 2, "What?"),
        (blocks(None, "What?"), 1, "What?"),
        (blocks("What?", None, None), 2, "What?"),
        (blocks("\nWhat?\n"), 1, "\nWhat?\n"),
        ([{"role": "system", "content": "Be brief."}, *text("What?")], 1, "What?"),
        ([*text("What?"), {"role": "user", "content": "Thanks"}], 1, "What?"),
        (text(f"{MARK}\nWhat?"), 2, Skip("0", "image-placement", "1 placeholders for 2 images")),
        (text(f"What is {MARK} this?"), 1, Skip("0", "image-placement", "<image> amid the text")),
        (blocks("What is", None, "this?"), 1, Skip("0", "image-placement", "<image> amid the text")),
        (text(MARK), 1, Skip("0", "empty-prompt")),
        (text("What?")[::-1], 1, Skip("0", "empty-prompt")),
        (
            [*text("What?"), *text(f"{MARK} And?")],
            1,
            Skip("0", "image-placement", "<image> outside the first user turn"),
        ),
        ([*text("What?")[:1], *text("What?")], 1, Skip("0", "turn-order", "user, user, assistant")),
        (text("\ud800"), 1, Skip("0", "malformed", "turn 1 is not Unicode text (surrogates not allowed)")),
        ([*text("What?")[:1], {"role": "tool", "content": "x"}], 1, "role 'tool'"),
        (["What?"], 1, Skip("0", "empty-answer")),
        (["What?", 1], 1, "turn 1 is a str"),
        ("What?", 1, Skip("0", "empty-answer")),
        ({"user": 1}, 1, "messages is a dict"),
        (None, 1, Skip("0", "empty-prompt", "no messages")),
    ],
)
def test_conversations(messages: Any, images: int, outcome: str | Skip) -> None:
    [made] = outcomes({"messages": messages, "images": [CELL] * images})
    if isinstance(outcome, Skip):
        assert made == outcome
    elif isinstance(made, Skip):
        assert made.reason in ("malformed", "not-read")
        assert outcome in made.detail
    else:
        assert [turn.content for turn in made.prompt if turn.role == "user"] == [outcome]
        assert (made.answer, len(made.images)) == ("A cup.", images)
        assert made.images[0].name == "a.png", "no folder of the machine that made the set"


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"prompt": "Q", "completion": "A"}, "Q", "A"),
        ({"prompt": text("Q")[:1], "completion": text("Q")[1:]}, "Q", "A cup."),
        ({"prompt": text("Q")[:1], "chosen": text("Q")[1:], "rejected": []}, "Q", "A cup."),
        ({"prompt": text("Q")[:1], "chosen": text("Q"), "rejected": []}, "Q", "A cup."),
        ({"chosen": text("Q"), "rejected": text("Q")}, "Q", "A cup."),
        ({"question": "Q", "answer": 3}, "Q", "3"),
        ({"question": "Q", "chosen": "A", "rejected": "B", "ds_name": "x"}, "Q", "A"),
    ],
)
def test_columns(row: dict[str, Any], prompt: str, answer: str) -> None:
    [made] = outcomes({**row, "image": CELL})
    assert isinstance(made, Example), made
    assert ([turn.content for turn in made.prompt], made.answer) == ([prompt], answer)


def test_names_of_rows() -> None:
    row = {"question": "Q", "answer": "A", "image": CELL}
    ids = ["a", "a", 7, None, "", "a#1", "two\nlines", "3", ["x"]]
    made = outcomes(*({**row, "id": given} for given in ids))
    assert [outcome.id for outcome in made] == ["a", "a#1", "7", "3", "4", "a#1#5", "6", "3#7", "8"]
    assert [outcome.source_id for outcome in made if isinstance(outcome, Example)][2] == "me/rows/train/2"


def test_images_beside_a_local_table_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    row = {"question": "Q", "answer": "A"}
    good, outside, odd, long = outcomes(
        *({**row, "image": name} for name in ("a.png", "../a.png", "a\0.png", "a" * 5000)), root=tmp_path
    )
    assert isinstance(good, Example)
    assert isinstance(outside, Skip)
    assert "leaves its root" in outside.detail
    assert isinstance(odd, Skip)
    assert isinstance(long, Skip)


def test_only_wanted_blocks_are_read() -> None:
    row = {"question": "Q", "answer": "A", "image": CELL}
    source = Source(Table("rows", "train", None, "1", None, lambda: iter([row] * 7)), limit=5)
    assert len(source) == 5
    assert [(number, len(block)) for number, block in source.blocks(2, lambda n: n != 0)] == [(1, 2), (2, 1)]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=9)
    | st.just(MARK)
    | st.sampled_from(["user", "assistant", "human", "gpt", "system", "image", "text"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "type", "text", "bytes", "path"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
COLUMNS = ("messages", "conversations", "prompt", "completion", "chosen", "question", "answer", "image", "images", "id")


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(row=st.dictionaries(st.sampled_from(COLUMNS), JSON, min_size=1), with_image=st.booleans())
def test_any_row_has_an_outcome(row: dict[str, Any], with_image: bool) -> None:
    if with_image:
        row["images"] = [CELL]
    try:
        [made] = outcomes(row)
    except InputError as error:
        if re.search(r"None of the \d+ images|The only image", str(error)):
            return
        with contextlib.suppress(InputError):
            assert shape_of(row, "row 0")[-1] == "" or answer_column(unfolded(row))  # a prompt or an answer alone
        return
    if isinstance(made, Skip):
        assert made.reason in REASONS
        return
    # What goes on to the model and to the data files.
    assert made.images
    assert made.answer.strip()
    assert [turn.role for turn in made.prompt][-1] == "user"
    assert not any(MARK in content for content in (*(turn.content for turn in made.prompt), made.answer))
    json.dumps([made.id, made.answer, *(turn.content for turn in made.prompt)]).encode()


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 80), junk=st.binary(max_size=40))
def test_any_damage_to_an_image_is_a_skip(start: int, junk: bytes) -> None:
    content = png()
    damaged = content[:start] + junk + content[start + len(junk) :]
    [made] = outcomes({"question": "Q", "answer": "A", "image": {"bytes": damaged, "path": None}})
    assert isinstance(made, Example) or made.reason == "bad-image"


def test_shapes_are_found_by_columns_alone() -> None:
    assert shape_of({"prompt": None, "chosen": [], "rejected": 1}, "row 0") == ("prompt", "chosen")
    row = read_row({"prompt": "Q", "chosen": "A"}, "row 0")
    assert ([turn.content for turn in row.prompt], row.chosen) == (["Q"], "A")
