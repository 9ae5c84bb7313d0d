"""Rows as people of this trade have them: build, train and inspect read each alike, or leave it for the same reason."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmpref.align.preference_data import Pairs, collect_pairs
from mmpref.bench.pairs import labelled_pairs
from mmpref.data.blocks import check_rejected
from mmpref.data.builders._published import SourcePairs
from mmpref.data.inspect import KINDS, inspect
from mmpref.data.sources import Source
from mmpref.errors import ImageError, InputError
from mmpref.tables.messages import unfolded
from mmpref.tables.open import open_table
from mmpref.tables.rows import read_row
from mmpref.tables.table import Table
from mmpref.types import Example, Pair, Skip, as_dicts, context_of
from mmpref.vlm.special_tokens import special_token_in

CASES = Path(__file__).parents[1] / "cases" / "rows"
Q, GOOD, BAD = "What is it?", "A red cup.", "A blue fork."


def png(size: tuple[int, int] = (6, 4), color: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, color).save(content, "PNG")
    return content.getvalue()


PNG = png()
CELL = {"bytes": PNG, "path": "a.png"}
BASE64 = base64.b64encode(PNG).decode()
URI = f"data:image/png;base64,{BASE64}"
USER, ASSISTANT = {"role": "user", "content": Q}, {"role": "assistant", "content": GOOD}


def user(*parts: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts), **more}, ASSISTANT]


def text(value: str = Q, kind: str = "text") -> dict[str, str]:
    return {"type": kind, "text": value}


def table(*rows: dict[str, Any], root: Path | None = None) -> Table:
    return Table("me/rows", "train", None, "1", None, lambda: iter(rows), root)


def built(source: Table, pairs: bool = False) -> list[Example | Skip]:
    return [one for _, block in Source(source, pairs=pairs).blocks(8, lambda _: True) for one in block]


def trained(source: Table, folder: Path, **settings: Any) -> Pairs:
    folder.mkdir(exist_ok=True)
    return collect_pairs([source], folder, image_token="<image>", **settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "coco/train2017").mkdir(parents=True)
    for name in ("a.png", "coco/train2017/000000000009.jpg", "caf\u00e9.png"):
        (folder / name).write_bytes(PNG)
    return folder


SUPERVISED = {
    "Qwen": {"messages": user({"type": "image", "image": "a.png"}, text())},
    "Qwen, the first": {"messages": user({"image": URI}, {"text": Q})},
    "OpenAI": {"messages": user({"type": "image_url", "image_url": {"url": URI, "detail": "high"}}, text())},
    "OpenAI, a plain address": {"messages": user({"type": "image_url", "image_url": "a.png"}, text())},
    "OpenAI, responses": {"messages": user({"type": "input_image", "image_url": URI}, text(kind="input_text"))},
    "Anthropic": {
        "messages": user(
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BASE64}}, text()
        )
    },
    "Ollama": {"messages": [{**USER, "images": [BASE64]}, ASSISTANT]},
    "transformers, path": {"messages": user({"type": "image", "path": "a.png"}, text())},
    "transformers, base64": {"messages": user({"type": "image", "base64": BASE64}, text())},
    "Arrow's nulls": {
        "messages": user(
            {"type": "image", "text": None, "image": None, "image_url": {"url": URI}},
            {"type": "text", "text": Q, "image": None, "image_url": {"url": None}},
        )
    },
    "the same image twice told": {"messages": user({"type": "image", "image": "a.png"}, text()), "images": ["a.png"]},
    "parts and a column": {"messages": user({"type": "image"}, text()), "images": [CELL]},
    "image behind the text": {"messages": user(text(), {"type": "image"}), "images": [CELL]},
    "the Cauldron": {"images": [CELL], "texts": [{"user": Q, "assistant": GOOD, "source": "x"}]},
    "Docmatix": {"images": [CELL], "texts": {"user": [Q], "assistant": [GOOD], "source": ["PDF"]}},
    "LLaVA-Instruct": {
        "image": "a.png",
        "conversations": [{"from": "human", "value": f"<image>\n{Q}"}, {"from": "gpt", "value": GOOD}],
    },
    "ShareGPT4V": {
        "image": "coco/train2017/000000000009.jpg",
        "conversations": [{"from": "human", "value": f"{Q}\n<image>"}, {"from": "gpt", "value": GOOD}],
    },
    "begins with the assistant": {
        "image": CELL,
        "conversations": [
            {"from": "gpt", "value": "Hello."},
            {"from": "human", "value": Q},
            {"from": "gpt", "value": GOOD},
        ],
    },
    "a list taken apart": {"image": CELL, "conversations": {"from": ["human", "gpt"], "value": [Q, GOOD]}},
    "JSON text": {
        "image": CELL,
        "conversations": json.dumps([{"from": "human", "value": f"<image>\n{Q}"}, {"from": "gpt", "value": GOOD}]),
    },
    "pandas' text": {"image": CELL, "messages": str([USER, ASSISTANT])},
    "a developer's words": {
        "image": CELL,
        "messages": [{"role": "developer", "content": "Be brief."}, USER, ASSISTANT],
    },
    "ms-swift": {"query": Q, "response": GOOD, "system": "Be brief.", "history": [], "images": ["a.png"]},
    "Alpaca": {"instruction": Q, "input": "", "output": GOOD, "images": ["a.png"]},
    "one answer in a list": {"question": Q, "answer": [GOOD, GOOD], "image": CELL},
    "a webdataset": {"__key__": "0", "png": {"bytes": PNG, "path": None}, "json": {"question": Q, "answer": GOOD}},
    "a path only": {"question": Q, "answer": GOOD, "image": {"bytes": None, "path": "a.png"}},
    "bytes": {"question": Q, "answer": GOOD, "image": PNG},
    "base64 in a mapping": {"question": Q, "answer": GOOD, "image": {"bytes": BASE64, "path": None}},
    "a column of base64": {"question": Q, "answer": GOOD, "image_base64": BASE64},
    "base64 with line ends": {"question": Q, "answer": GOOD, "image": base64.encodebytes(PNG).decode()},
    "a data URI": {"question": Q, "answer": GOOD, "image": URI},
    "images taken apart": {"question": Q, "answer": GOOD, "images": {"bytes": [PNG], "path": [None]}},
    "images in JSON text": {"question": Q, "answer": GOOD, "images": '["a.png"]'},
    "Windows": {"question": Q, "answer": GOOD, "image": "D:\\data\\a.png"},
    "another machine": {"question": Q, "answer": GOOD, "image": "/data/elsewhere/a.png"},
    "a file URI": {"question": Q, "answer": GOOD, "image": "file:///data/elsewhere/a.png"},
    "an ending in capitals": {"question": Q, "answer": GOOD, "image": "sub/a.PNG"},
    "an ending in capitals, from Windows": {"question": Q, "answer": GOOD, "image": "D:\\data\\a.Png"},
    "letters taken apart": {"question": Q, "answer": GOOD, "image": "cafe\u0301.png"},
    "COCO's address": {
        "question": Q,
        "answer": GOOD,
        "image": "http://images.cocodataset.org/train2017/000000000009.jpg",
    },
    "an empty image column first": {"question": Q, "answer": GOOD, "images": [], "image": CELL},
    "InternLM's placeholder": {"question": f"<ImageHere>{Q}", "answer": GOOD, "image": CELL},
    "a numbered placeholder": {"question": f"<image_1>\n{Q}", "answer": GOOD, "image": CELL},
}


@pytest.mark.parametrize("name", SUPERVISED)
def test_supervised_rows_of_every_form_give_the_same_example(tmp_path: Path, root: Path, name: str) -> None:
    rows = table(SUPERVISED[name], root=root)
    [example] = built(rows)
    assert isinstance(example, Example), example
    assert [turn.content for turn in example.prompt if turn.role != "system"] == [Q]
    assert (example.answer, [image.content for image in example.images]) == (GOOD, [PNG])
    pairs = trained(rows, tmp_path / "run", needs=("chosen",))
    assert pairs.dataset[0]["prompt"] == [{"role": turn.role, "content": turn.content} for turn in example.prompt]
    assert pairs.dataset[0]["chosen"] == [ASSISTANT]


PREFERENCES = {
    "TRL": {"images": [CELL], "prompt": [USER], "chosen": [ASSISTANT], "rejected": [{**ASSISTANT, "content": BAD}]},
    "plain text": {"image": CELL, "prompt": Q, "chosen": GOOD, "rejected": BAD},
    "the prompt inside": {
        "image": CELL,
        "chosen": [USER, ASSISTANT],
        "rejected": [USER, {**ASSISTANT, "content": BAD}],
    },
    "the prompt twice": {
        "image": CELL,
        "prompt": Q,
        "chosen": [USER, ASSISTANT],
        "rejected": [USER, {**ASSISTANT, "content": BAD}],
    },
    "parts": {
        "images": [CELL],
        "prompt": user({"type": "image"}, text())[:1],
        "chosen": [{"role": "assistant", "content": [text(GOOD)]}],
        "rejected": [{"role": "assistant", "content": [text(BAD)]}],
    },
    "LLaMA-Factory": {
        "images": ["a.png"],
        "conversations": [{"from": "human", "value": f"<image>{Q}"}],
        "chosen": {"from": "gpt", "value": GOOD},
        "rejected": {"from": "gpt", "value": BAD},
    },
    "Alpaca's": {"images": ["a.png"], "instruction": Q, "input": "", "chosen": GOOD, "rejected": BAD},
    "ms-swift": {"images": ["a.png"], "messages": [USER, ASSISTANT], "rejected_response": BAD},
    "ms-swift, messages": {
        "images": ["a.png"],
        "messages": [{**USER, "content": f"<image>{Q}"}, ASSISTANT],
        "rejected_messages": [USER, {**ASSISTANT, "content": BAD}],
    },
    "POVID": {
        "image": "a.png",
        "conversations": [{"from": "human", "value": f"<image>\n{Q}"}, {"from": "gpt", "value": GOOD}],
        "rejected_conversations": [{"from": "human", "value": f"<image>\n{Q}"}, {"from": "gpt", "value": BAD}],
    },
    "RLHF-V": {"image": CELL, "text": json.dumps({"question": Q, "chosen": GOOD, "rejected": BAD}), "idx": 3},
    "UltraFeedback's": {
        "image": CELL,
        "prompt": Q,
        "messages": [USER, ASSISTANT],
        "chosen": [USER, ASSISTANT],
        "rejected": [USER, {**ASSISTANT, "content": BAD}],
        "score_rejected": 1.5,
    },
    "a placeholder in the prompt": {"image": CELL, "prompt": f"<image>\n{Q}", "chosen": GOOD, "rejected": BAD},
    "another machine's paths": {"images": ["/data/elsewhere/a.png"], "prompt": Q, "chosen": GOOD, "rejected": BAD},
    "empty texts in columns that say nothing": {
        "image": {"bytes": "", "path": "a.png"},
        "images": "",
        "prompt": "",
        "chosen": [USER, ASSISTANT],
        "rejected": "",
        "rejected_messages": [USER, {**ASSISTANT, "content": BAD}],
        "history": "",
        "system": "",
        "videos": "",
    },
    "image behind the text": {
        "images": [CELL],
        "prompt": user(text(), {"type": "image"})[:1],
        "chosen": GOOD,
        "rejected": BAD,
    },
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_pairs_of_every_form_are_one_pair_to_every_command(tmp_path: Path, root: Path, name: str) -> None:
    rows = table(PREFERENCES[name], root=root)
    [example] = built(rows, pairs=True)
    assert isinstance(example, Example), example
    assert ([turn.content for turn in example.prompt], example.answer, example.rejected) == ([Q], GOOD, BAD)
    [row] = trained(rows, tmp_path / "run").dataset
    assert [row[name][-1]["content"] for name in ("prompt", "chosen", "rejected")] == [Q, GOOD, BAD]
    assert row["images"][0].size == (6, 4)
    assert inspect(rows)["problems"] == {}


GOOD_ROW = PREFERENCES["plain text"]
UNUSABLE = {
    "no-image": [
        {"image": ""},
        {"image": None},
        {"image": "nan"},
        {"image": float("nan")},
        {"image": []},
        {"image": {"bytes": None, "path": None}},
    ],
    "image-placement": [
        {"prompt": user(text("What is"), {"type": "image"}, text("this?"))[:1]},
        {"prompt": "What is <image> this?"},
        {"prompt": f"<image><image>{Q}"},
        {"prompt": [USER, {"role": "assistant", "content": "A cup."}, {"role": "user", "content": "<image> And?"}]},
        {"chosen": "See <image>."},
        {"rejected": "See <image>."},
        {"prompt": user({"type": "image", "image": URI}, text())[:1], "image": [CELL, CELL]},
    ],
    "empty-answer": [{"chosen": None}, {"chosen": float("nan")}, {"chosen": " "}, {"chosen": []}, {"rejected": " "}],
    "no-rejected": [{"rejected": None}, {"rejected": float("nan")}],
    "empty-prompt": [{"prompt": None}, {"prompt": float("nan")}, {"prompt": "<image>"}, {"prompt": ""}],
    "prompts-differ": [
        {"rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": BAD}]},
        {"chosen": [ASSISTANT, USER, ASSISTANT], "rejected": BAD},
    ],
    "turn-order": [{"prompt": [USER, USER]}],
    "not-read": [
        {"prompt": [USER, {"role": "tool", "content": "42"}, USER]},
        {"prompt": user({"type": "video", "video": "a.mp4"}, text())[:1]},
        {"prompt": user({"type": "audio", "audio_url": "a.wav"}, text())[:1]},
        {"prompt": user({"type": "text", "text": Q, "image": URI})[:1]},
        {"prompt": [{**USER, "tool_calls": [{"name": "f"}]}]},
        {"videos": ["a.mp4"]},
        {"rejected_images": ["b.png"]},
        {"chosen_images": ["b.png"]},
        {"image_2": CELL},
        {"prompt": [USER, {"role": "assistant", "content": "A cup.", "reasoning_content": "Hm."}, USER]},
        {"chosen": 1, "rejected": 0, "responses": [BAD, GOOD]},
        {"chosen": "B", "rejected": "A", "response_a": BAD, "response_b": GOOD},
    ],
    "malformed": [{"prompt": True}, {"chosen": ["one", "two"]}, {"chosen": float("inf")}, {"prompt": [3]}],
    "missing-image": [{"image": "nowhere.png"}],
    "image-url": [
        {"image": "https://example.org/a.png"},
        {"image": "s3://bucket/a.png"},
        {
            "prompt": user({"type": "image_url", "image_url": {"url": "http://example.org/a.png"}}, text())[:1],
            "image": None,
        },
    ],
    "bad-image": [
        {"image": "../secret.png"},
        {"image": b""},
        {"image": 3},
        {"image": "data:image/png,x"},
        {"image": "x" * 5000},
        {"image": BASE64[:40] + BASE64[80:]},
    ],
}


@pytest.mark.parametrize(("reason", "change"), [(reason, row) for reason, rows in UNUSABLE.items() for row in rows])
def test_a_row_that_cannot_be_used_is_left_by_all_for_one_reason(
    tmp_path: Path, root: Path, reason: str, change: dict[str, Any]
) -> None:
    rows = table(GOOD_ROW, {**GOOD_ROW, **change}, root=root)
    example, skip = built(rows, pairs=True)
    assert isinstance(example, Example)
    assert isinstance(skip, Skip), skip
    assert skip.reason == reason
    assert len(skip.detail) < 700
    assert trained(rows, tmp_path / "run").skipped == {reason: 1}
    problems = inspect(rows)["problems"]
    assert problems.keys() == {KINDS.get(reason, reason)}
    if skip.detail and reason != "missing-image":  # of which a build lists the paths
        assert problems[KINDS.get(reason, reason)]["first"][0]["detail"] == skip.detail


def test_what_was_changed_is_counted(tmp_path: Path, root: Path) -> None:
    names = ("image behind the text", "another machine's paths", "TRL")
    rows = [PREFERENCES[name] for name in names]
    expected = {"images_moved_first": 1, "image_paths_shortened": 1}
    assert trained(table(*rows, root=root), tmp_path / "run").changed == expected
    assert inspect(table(*rows, root=root))["changed"] == expected


@pytest.mark.parametrize(
    "rejected", ["A red cup.\u200b", "A red\u00ad cup.", "\ufeffA  red cup.", "A rou\u0302ge cup."]
)
def test_answers_that_look_the_same_make_no_pair(tmp_path: Path, rejected: str) -> None:
    chosen = GOOD if "red" in rejected else "A ro\u00fbge cup."
    rows = table(GOOD_ROW, {**GOOD_ROW, "chosen": chosen, "rejected": rejected})
    assert trained(rows, tmp_path / "run").skipped == {"equal-answers": 1}
    assert inspect(rows)["problems"].keys() == {"equal-answers"}


def test_a_part_of_a_rejected_answer_that_is_not_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = {"image": CELL, "messages": [USER, ASSISTANT], "dispreferred": BAD, "choices": ["one"], "hint": ""}
    [example] = built(table(row))
    assert isinstance(example, Example)
    assert "has the column dispreferred, which looks like a rejected answer" in caplog.text
    assert "has the column choices, which" in caplog.text
    assert "hint" not in caplog.text
    _, skip = built(table(GOOD_ROW, row), pairs=True)
    assert isinstance(skip, Skip)
    assert (skip.reason, skip.detail.partition(";")[0]) == ("no-rejected", "dispreferred is not read")
    assert "lacks rejected; " in (said := _refusal(table(row), tmp_path))
    assert said.partition("hint.")[2].startswith(" dispreferred, choices is not read.")


@pytest.mark.parametrize(
    "names", [("Image", "Question", "Answer"), ("IMAGE", "QUESTION", "CAPTION"), ("Image Path", "Prompt", "Response")]
)
def test_headings_as_spreadsheets_have_them_are_read(names: tuple[str, str, str]) -> None:
    plain = built(table({"image": CELL, "question": Q, "answer": GOOD}))
    assert built(table(dict(zip(names, (CELL, Q, GOOD), strict=True)))) == plain


def test_of_two_headings_that_mean_one_column_neither_is_renamed() -> None:
    assert unfolded({"Image": "b.png", "image": "a.png", "Answer": GOOD}) == {
        "Image": "b.png",
        "image": "a.png",
        "answer": GOOD,
    }
    assert unfolded({"QUESTION": Q, "Question": Q}) == {"QUESTION": Q, "Question": Q}


def test_columns_that_look_like_images_are_named() -> None:
    [skip] = built(table({"question": Q, "answer": GOOD, "image_1": CELL}))
    assert skip == Skip("0", "no-image", "image_1 is not read as an image")
    [skip] = built(table({"file": "Photos/IMG_1.JPG", "question": Q, "answer": GOOD}))
    assert skip == Skip("0", "no-image", "file is not read as an image")
    [skip] = built(table({"place": "here", "question": Q, "answer": GOOD}))
    assert skip == Skip("0", "no-image", "no image in the columns place, question, answer")


@pytest.mark.parametrize(
    ("label", "shape"),
    [
        ({"label": False}, {"prompt": Q, "completion": BAD}),
        ({"label": "False"}, {"prompt": Q, "completion": BAD}),
        ({"label": 0}, {"prompt": Q, "completion": BAD}),
        ({"kto_tag": False}, {"messages": [USER, ASSISTANT]}),
    ],
)
def test_a_bad_answer_without_a_good_one_is_no_supervised_row(label: dict[str, Any], shape: dict[str, Any]) -> None:
    [skip] = built(table({**shape, **label, "image": CELL}))
    assert isinstance(skip, Skip)
    assert skip.reason == "not-read"
    [kept] = built(table({**shape, **dict.fromkeys(label, True), "image": CELL}))
    assert isinstance(kept, Example)


@pytest.mark.parametrize("mark", ["<Image>", "<img><ImageHere></img>", "<img>a/b.png</img>", "<ImageHere>"])
def test_a_placeholder_of_any_form_stands_for_the_image_and_is_no_text(mark: str) -> None:
    [example] = built(table({"messages": [{"role": "user", "content": f"{mark}\n{Q}"}, ASSISTANT], "image": CELL}))
    assert isinstance(example, Example)
    assert [turn.content for turn in example.prompt] == [Q]


def test_columns_that_hold_nothing_and_answers_of_one_letter_are_fine() -> None:
    nothing = {"videos": [None], "audio": {"array": None}, "image_2": {"bytes": None}}
    more = {**nothing, "answer": "B", "choices": ["x", "y"]}
    [example] = built(table({"image": CELL, "prompt": Q, "chosen": "B", "rejected": "A", **more}), pairs=True)
    assert isinstance(example, Example)


def test_earlier_rounds_and_an_instructions_input_are_part_of_the_prompt() -> None:
    row = {"instruction": "Say it.", "input": Q, "output": GOOD, "history": [["Hi", "Hello."]], "system": "S"}
    read = read_row(row, "row 0")
    assert [turn.content for turn in read.prompt] == ["S", "Hi", "Hello.", f"Say it.\n{Q}"]


TALK = [USER, ASSISTANT, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "messages": {"messages": TALK},
    "LLaVA": {"conversations": [{"from": one["role"], "value": one["content"]} for one in TALK]},
    "the Cauldron": {"texts": [{"user": Q, "assistant": GOOD}, {"user": "Sure?", "assistant": "Yes."}]},
    "rounds": {"instruction": "Sure?", "output": "Yes.", "history": [[Q, GOOD]]},
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_of_several_answers_the_last_is_read_and_that_is_counted_and_said(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mmpref")
    row = {**CONVERSATIONS[name], "images": [CELL]}
    one = {"messages": TALK[:2], "images": [CELL]}
    first, second = built(table(row, one))
    assert isinstance(first, Example)
    assert isinstance(second, Example)
    assert (first.answer, [turn.content for turn in first.prompt]) == ("Yes.", [Q, GOOD, "Sure?"])
    assert (first.notes, second.notes) == (("last_of_several_answers",), ())
    assert any("1 row has several answers; the last is read" in message for message in caplog.messages)
    pairs = table({**row, "rejected": "No."}, {**one, "rejected": BAD})
    assert trained(pairs, tmp_path / "run").changed == {"last_of_several_answers": 1}
    assert inspect(pairs)["changed"] == {"last_of_several_answers": 1}


def test_answers_in_a_prompt_of_its_own_are_not_left_aside() -> None:
    read = read_row({"prompt": TALK[:3], "completion": TALK[3:], "images": [CELL]}, "row 0")
    assert read.notes == ()


def test_text_that_looks_like_json_or_like_nothing_stays_text() -> None:
    for said in ("[1, 2]", '{"answer": 3}', "None", "nan", "null", "[{}]"):
        read = read_row({"question": said, "answer": said}, "row 0")
        assert (read.prompt[-1].content, read.chosen) == (said, said)


@pytest.mark.parametrize(
    "cell",
    [
        base64.b64encode(png((300, 300))[:-9]).decode() * 9,
        "data:image/png;base64," + "A" * 400_000,
        "/" + "x" * 300_000,
        "https://example.org/" + "x" * 300_000,
        {"path": "y" * 300_000},
        "C:\\" + "z" * 300_000,
    ],
)
def test_no_cell_makes_a_long_message(tmp_path: Path, cell: Any) -> None:
    good = {**GOOD_ROW, "image": {"bytes": png((8, 8))}}
    [skip] = [one for one in built(table(good, {**GOOD_ROW, "image": cell}, root=tmp_path)) if isinstance(one, Skip)]
    assert len(skip.detail) < 700
    rows = table({**GOOD_ROW, "image": cell}, root=tmp_path)
    with pytest.raises(InputError) as error:
        trained(rows, tmp_path / "run")
    assert len(str(error.value)) < 1500
    assert len(json.dumps(inspect(rows)["problems"])) < 1500


def test_other_long_cells_make_no_long_message(tmp_path: Path) -> None:
    long = "x" * 300_000
    for change in ({"prompt": [{"role": long, "content": Q}]}, {"prompt": user({"type": long})[:1]}, {long: 1}):
        row = {**GOOD_ROW, **change}
        [made] = built(table(row))
        assert isinstance(made, Example) or len(made.detail) < 700
    with pytest.raises(InputError) as error:
        built(table({long: 1, **{f"{long}{n}": n for n in range(9)}}))
    assert len(str(error.value)) < 2000


def _refusal(rows: Table, folder: Path) -> str:
    """What build, train and inspect all say of a table that they do not read."""
    said = set()
    for read in (
        lambda: built(rows, pairs=True),
        lambda: trained(rows, folder / "none"),
        lambda: inspect(rows),
        lambda: list(labelled_pairs(rows, None)),
    ):
        with pytest.raises(InputError) as error:
            read()
        said.add(str(error.value))
    [one] = said
    return one


def test_a_table_without_rows_is_refused_by_all_in_the_same_words(tmp_path: Path) -> None:
    assert _refusal(table(), tmp_path) == "me/rows (train) has no rows."
    with pytest.raises(InputError, match=r"^me/rows \(train\) has no rows"):
        Source([Table("me/others", "train", None, "1", None, lambda: iter([GOOD_ROW])), table()])


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("other", "reason", "kind"),
    [
        ({"a": 1}, "malformed", "malformed"),
        ({name: cell for name, cell in GOOD_ROW.items() if name != "rejected"}, "no-rejected", "missing"),
        ({name: cell for name, cell in GOOD_ROW.items() if name != "chosen"}, "empty-answer", "missing"),
        ({"image": CELL, "messages": [USER, ASSISTANT]}, "no-rejected", "missing"),
        ({"image": CELL, "messages": [USER, ASSISTANT], "rejected_response": BAD}, None, None),
        ({"image": CELL, "question": Q, "answer": GOOD, "rejected": BAD}, None, None),
    ],
)
def test_a_row_of_another_shape_is_read_by_itself_wherever_it_stands(
    tmp_path: Path, place: int, other: dict[str, Any], reason: str | None, kind: str | None
) -> None:
    rows = table(*((GOOD_ROW, other) if place else (other, GOOD_ROW)))
    made = built(rows, pairs=True)
    assert [one.reason for one in made if isinstance(one, Skip)] == [reason] * bool(reason)
    (tmp_path / "run").mkdir()
    pairs = trained(rows, tmp_path / "run")
    assert pairs.skipped == ({reason: 1} if reason else {})
    assert len(list(labelled_pairs(rows, None))) == len(pairs.dataset) == (1 if reason else 2)
    report = inspect(rows)
    assert report["usable"] == len(pairs.dataset)
    assert [(kind, place["row"]) for kind, entry in report["problems"].items() for place in entry["first"]][:1] == (
        [(kind, place)] if kind else []
    )
    assert "columns" in report["notes"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"a": 1}, "row 0 has the columns a: no shape that mmpref reads"),
        ({"image": CELL, "messages": [USER, ASSISTANT]}, "row 0 lacks rejected; its columns are image, messages"),
        ({"image": CELL, "prompt": Q, "rejected": BAD}, "row 0 lacks chosen; its columns are image, prompt, rejected"),
        ({"image": CELL, "prompt": Q}, "row 0 lacks chosen, rejected; its columns are image, prompt"),
        (
            {"__key__": "0", "png": CELL, "json": {"prompt": Q, "chosen": GOOD}},
            "row 0 lacks rejected; its columns are id, prompt, chosen, images",
        ),
    ],
)
def test_a_table_without_pairs_is_refused_by_all_in_the_same_words(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    assert said in _refusal(table(row, row), tmp_path)
    seen: list[int] = []

    def many() -> Iterator[dict[str, Any]]:
        for number in range(5000):
            seen.append(number)
            yield row

    assert said in _refusal(Table("me/rows", "train", None, "1", None, many), tmp_path)
    assert max(seen) < 5000 - 1, "a large table is not read to its end for that"


def test_special_tokens_are_no_text(tmp_path: Path) -> None:
    """An end of sequence in the middle of an answer would teach a stop, and then to go on."""
    changes: tuple[dict[str, Any], ...] = (
        {"chosen": "A cup.</s> And a fork."},
        {"rejected": "A </s>."},
        {"prompt": "No.</s> What?"},
    )
    rows = table(GOOD_ROW, *({**GOOD_ROW, **change} for change in changes))
    pairs = trained(rows, tmp_path / "run", special_tokens=("</s>", "<user>"))
    assert (len(pairs.dataset), pairs.skipped) == (1, {"special-token": 3})


def test_a_row_that_the_processor_refuses_is_one_counted_skip(tmp_path: Path) -> None:
    """Real processors refuse by the shape of an image; what they say is the row's fault, and names the row."""
    seen: list[tuple[int, int]] = []

    def accepts(_prompt: Any, images: Any) -> None:
        seen.append(images[0].size)
        if images[0].width > 200 * images[0].height:
            raise ImageError("an image of 400 x 1 pixels is none for this model")

    odd = {**GOOD_ROW, "image": png((400, 1))}
    ordinary = [{**GOOD_ROW, "image": png((100 + n % 3, 100))} for n in range(20)]
    rows = table(*ordinary, odd, odd)
    pairs = trained(rows, tmp_path / "run", accepts=accepts)
    assert (len(pairs.dataset), pairs.skipped) == (20, {"bad-image": 2})
    assert [one["row"] for one in pairs.skips["bad-image"]] == ["me/rows (train), row 20", "me/rows (train), row 21"]
    assert "400 x 1 pixels" in pairs.skips["bad-image"][0]["detail"]
    assert len(seen) <= 3, "asked once for every size, not for every row"
    with pytest.raises(InputError, match=r"First: me/rows \(train\), row 0: an image of 400 x 1 pixels"):
        trained(table(odd), tmp_path / "other", accepts=accepts)


TEXTS = st.sampled_from([Q, GOOD, BAD, "", " ", "<image>", f"<image>\n{Q}", f"{Q} <image>", "A <image> cup", "No.</s>"])
SCALARS = st.none() | st.just(float("nan")) | st.booleans() | st.integers() | TEXTS
PARTS = st.one_of(
    st.builds(text, TEXTS),
    st.sampled_from([{"type": "image"}, {"type": "image", "image": URI}, {"type": "video"}, {"image": "a.png"}, Q, 3]),
)
MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "assistant", "system", "tool"]),
        SCALARS | st.lists(PARTS, max_size=3),
    ),
    max_size=3,
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("prompt", "chosen", "rejected"), MESSAGES | SCALARS),
        "images": st.sampled_from([[CELL], [CELL, CELL], [], None, ["gone.png"], [URI], "nan"]),
        "image": st.sampled_from([CELL, PNG, BASE64, None, ""]),
        "videos": st.sampled_from([None, [], ["a.mp4"]]),
    },
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(change=CHANGES)
def test_build_train_and_inspect_agree_on_any_row(
    tmp_path_factory: pytest.TempPathFactory, change: dict[str, Any]
) -> None:
    """What `inspect` calls fine, `train` takes, and `mix` keeps; and the other way round."""
    rows = table(GOOD_ROW, {**GOOD_ROW, **change})
    pairs = trained(rows, tmp_path_factory.mktemp("run"), special_tokens=("</s>",))
    problems = inspect(rows, special=special_token_in({"</s>"}))["problems"]
    assert bool(pairs.skipped) == bool(problems), (pairs.skipped, problems)
    single = [images for images in pairs.dataset.with_format(None)["images"] if len(images) == 1]
    assert len(list(labelled_pairs(rows, None))) >= len(single)
    made = SourcePairs("mix", 0)([one for one in built(rows, pairs=True) if isinstance(one, Example)])
    kept = [one for one in map(check_rejected, made) if isinstance(one, Pair)]
    if "special-token" in pairs.skipped:  # which a build knows only where it has a model
        return
    assert len(kept) == len(pairs.dataset)
    last = pairs.dataset[len(pairs.dataset) - 1]
    assert last["prompt"] == as_dicts(kept[-1].example.prompt)
    assert [last[name][0]["content"] for name in ("chosen", "rejected")] == [kept[-1].chosen, kept[-1].rejected]


FILES = {
    "c01_openai_parts.jsonl": 1,
    "c01_qwen_parts.jsonl": 1,
    "c02_base64.jsonl": 1,
    "c02_datauri.jsonl": 1,
    "c02_fileuri.jsonl": 1,
    "c02_url.jsonl": 0,
    "c03_swift.jsonl": 1,
    "c03_swift_messages.jsonl": 1,
    "c04_cauldron.jsonl": 1,
    "c05_lf_dpo.jsonl": 1,
    "c06_backslash.jsonl": 1,
    "c07_implicit.jsonl": 4,
    "c15/answer_list.parquet": 1,
    "c15/csv/data.csv": 2,
    "c15/csv/rows.jsonl.gz": 2,
    "c15/struct_of_lists.parquet": 2,
    "c15/web": 2,
    "c15/folder_csv": 2,
    "c15/saved": 2,
    "c16/absolute_pairs.jsonl": 4,
    "c16/gpt_first.jsonl": 2,
    "c16/nan.jsonl": 2,
    "c16/prompt_with_placeholder.jsonl": 4,
    "c16/sys_tool.jsonl": 2,
    "c16/parts_null.jsonl": 4,
}


@pytest.mark.parametrize("name", FILES)
def test_files(name: str) -> None:
    made = built(open_table(str(CASES / name)))
    assert sum(isinstance(one, Example) for one in made) == FILES[name]
    assert not any(isinstance(one, Example) and "nan" in (one.answer, one.prompt[-1].content) for one in made)


@pytest.mark.parametrize(
    ("context", "continuation"),
    [("A red cup.", " It stands."), ("A red cup. ", "It stands."), ("  A red cup.\n", "\nIt stands. ")],
)
def test_answers_may_continue_a_context(context: str, continuation: str, tmp_path: Path) -> None:
    """TRL's form: the prompt ends in a turn of the assistant's. Build, train and inspect keep what joins both."""
    answers = {
        "chosen": [{**ASSISTANT, "content": continuation}],
        "rejected": [{**ASSISTANT, "content": " A blue one."}],
    }
    row = {"images": [CELL], "prompt": [USER, {**ASSISTANT, "content": context}], **answers}
    read = read_row(row, "row 0")
    assert read.fault("chosen", "rejected") is None
    assert context_of(read.prompt) == "A red cup."
    assert context_of(read.prompt) + read.chosen == (context + continuation).strip()
    [example] = built(table(row), pairs=True)
    assert isinstance(example, Example)
    assert (example.prompt, example.answer, example.rejected) == (read.prompt, read.chosen, read.rejected)
    pairs = trained(table(row), tmp_path / "trained")
    assert pairs.dataset[0]["prompt"] == as_dicts(read.prompt)
    assert pairs.dataset[0]["chosen"] == [{"role": "assistant", "content": read.chosen}]
    samples: list[Any] = []
    report = inspect(table(row), on_row=samples.append)
    assert (report["usable"], report["contexts"]) == (1, 1)
    assert (samples[0].prompt, samples[0].context, samples[0].chosen) == (Q, "A red cup.", read.chosen)
    [left] = [one for _, block in Source(table(row), contexts=False).blocks(8, lambda _: True) for one in block]
    assert isinstance(left, Skip)
    assert left.reason == "context"


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_a_whole_conversation_beside_answers_is_no_context(column: str) -> None:
    row = {
        "images": [CELL],
        column: [USER, {**ASSISTANT, "content": "A cup."}],
        "chosen": "A cup.",
        "rejected": "A saw.",
    }
    read = read_row(row, "rows, row 0")
    fault = read.fault("chosen", "rejected")
    assert fault is not None
    assert fault.reason == "turn-order"
    asked = read_row({**row, column: [USER]}, "rows, row 0")
    assert (asked.fault("chosen", "rejected"), asked.chosen, asked.rejected) == (None, "A cup.", "A saw.")


def test_a_prompt_without_an_answer_has_no_context() -> None:
    [fault] = [
        one for one in read_row({"images": [CELL], "prompt": [USER, ASSISTANT]}, "row 0").faults if one.part == "prompt"
    ]
    assert fault.reason == "turn-order"
