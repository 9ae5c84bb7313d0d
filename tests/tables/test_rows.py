"""A row that cannot be used is left by build, train and inspect for the same reason."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmpref.bench.pairs import labelled_pairs
from mmpref.data.blocks import check_rejected
from mmpref.data.builders._published import SourcePairs
from mmpref.data.inspect import KINDS, inspect
from mmpref.errors import ImageError, InputError
from mmpref.types import Example, Pair, Skip, as_dicts
from mmpref.vlm.special_tokens import special_token_in
from tests.tables.made_rows import (
    ASSISTANT,
    BAD,
    BASE64,
    CELL,
    GOOD,
    GOOD_ROW,
    PNG,
    URI,
    USER,
    Q,
    built,
    png,
    table,
    text,
    trained,
    user,
)

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


@pytest.mark.parametrize(
    "rejected", ["A red cup.\u200b", "A red\u00ad cup.", "\ufeffA  red cup.", "A rou\u0302ge cup."]
)
def test_answers_that_look_the_same_make_no_pair(tmp_path: Path, rejected: str) -> None:
    chosen = GOOD if "red" in rejected else "A ro\u00fbge cup."
    rows = table(GOOD_ROW, {**GOOD_ROW, "chosen": chosen, "rejected": rejected})
    assert trained(rows, tmp_path / "run").skipped == {"equal-answers": 1}
    assert inspect(rows)["problems"].keys() == {"equal-answers"}


@pytest.mark.parametrize(
    ("label", "shape"),
    [
        ({"label": False}, {"prompt": Q, "completion": BAD}),
        ({"label": "False"}, {"prompt": Q, "completion": BAD}),
        ({"label": 0}, {"prompt": Q, "completion": BAD}),
        ({"label": 0.0}, {"prompt": Q, "completion": BAD}),
        ({"label": "0.0"}, {"prompt": Q, "completion": BAD}),
        ({"kto_tag": False}, {"messages": [USER, ASSISTANT]}),
        ({"label": False}, {"messages": [USER, ASSISTANT]}),
        ({"label": 0}, {"messages": [USER, ASSISTANT]}),
        ({"label": False}, {"conversations": [USER, ASSISTANT]}),
        ({"label": 0}, {"query": Q, "response": BAD}),
        ({"label": False}, {"question": Q, "answer": BAD}),
        ({"label": "false"}, {"caption": BAD}),
    ],
)
def test_a_bad_answer_without_a_good_one_is_no_supervised_row(label: dict[str, Any], shape: dict[str, Any]) -> None:
    [skip] = built(table({**shape, **label, "image": CELL}))
    assert isinstance(skip, Skip)
    assert skip.reason == "not-read"
    [kept] = built(table({**shape, **dict.fromkeys(label, True), "image": CELL}))
    assert isinstance(kept, Example)


@pytest.mark.parametrize(
    "row", [{"caption": GOOD, "label": 0}, {"question": Q, "answer": GOOD, "label": "0"}, {**GOOD_ROW, "label": False}]
)
def test_the_number_of_a_class_and_a_label_of_a_pair_speak_of_no_bad_answer(row: dict[str, Any]) -> None:
    [kept] = built(table({**row, "image": CELL}))
    assert isinstance(kept, Example)


BOXES = {"ref": ["cup"], "bbox": [[1, 2, 30, 40]]}


@pytest.mark.parametrize("objects", [BOXES, json.dumps(BOXES), [{"caption": "cup", "bbox": [1, 2, 30, 40]}]])
@pytest.mark.parametrize(
    "change", [{"prompt": "Where is the <ref-object>?"}, {"chosen": "There: <bbox>."}, {"rejected": "At <bbox>."}]
)
def test_boxes_that_a_model_would_have_to_write_in_its_own_way_are_not_read(
    objects: Any, change: dict[str, str]
) -> None:
    [skip] = built(table({**GOOD_ROW, **change, "objects": objects}), pairs=True)
    assert isinstance(skip, Skip)
    assert skip.reason == "not-read"
    assert skip.detail.endswith("stands for something in the column objects, which mmpref does not put in its place")


def test_boxes_beside_texts_without_a_place_for_them_and_names_of_objects_change_nothing() -> None:
    for more in ({"objects": BOXES}, {"objects": ["cup"], "chosen": "A <bbox>."}):
        [kept] = built(table({**GOOD_ROW, **more}), pairs=True)
        assert isinstance(kept, Example)


@pytest.mark.parametrize(
    "cell",
    [
        base64.b64encode(png(size=(300, 300))[:-9]).decode() * 9,
        "data:image/png;base64," + "A" * 400_000,
        "/" + "x" * 300_000,
        "https://example.org/" + "x" * 300_000,
        {"path": "y" * 300_000},
        "C:\\" + "z" * 300_000,
    ],
)
def test_no_cell_makes_a_long_message(tmp_path: Path, cell: Any) -> None:
    good = {**GOOD_ROW, "image": {"bytes": png(size=(8, 8))}}
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

    odd = {**GOOD_ROW, "image": png(size=(400, 1))}
    ordinary = [{**GOOD_ROW, "image": png(size=(100 + n % 3, 100))} for n in range(20)]
    rows = table(*ordinary, odd, odd)
    pairs = trained(rows, tmp_path / "run", accepts=accepts)
    assert (len(pairs.dataset), pairs.skipped) == (20, {"bad-image": 2})
    assert [one["row"] for one in pairs.skips["bad-image"]] == [
        "me/rows (train), row 20 (counted from 0)",
        "me/rows (train), row 21 (counted from 0)",
    ]
    assert "400 x 1 pixels" in pairs.skips["bad-image"][0]["detail"]
    assert len(seen) <= 3, "asked once for every size, not for every row"
    with pytest.raises(
        InputError, match=r"First: me/rows \(train\), row 0 \(counted from 0\): an image of 400 x 1 pixels"
    ):
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
