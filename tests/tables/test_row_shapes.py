"""Rows of every shape that people of this trade have give the same example and the same pair."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mmpref.data.inspect import inspect
from mmpref.tables.headings import unfolded
from mmpref.tables.open import open_table
from mmpref.tables.rows import read_row
from mmpref.types import Example, Skip
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
    table,
    text,
    trained,
    user,
)

CASES = Path(__file__).parents[1] / "cases" / "rows"


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
    "Alpaca, the image in its input": {"instruction": Q, "input": "<image>", "output": GOOD, "images": ["a.png"]},
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
    "plain text": GOOD_ROW,
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


def test_what_was_changed_is_counted(tmp_path: Path, root: Path) -> None:
    names = ("image behind the text", "another machine's paths", "TRL")
    rows = [PREFERENCES[name] for name in names]
    expected = {"images_moved_first": 1, "image_paths_shortened": 1}
    assert trained(table(*rows, root=root), tmp_path / "run").changed == expected
    assert inspect(table(*rows, root=root))["changed"] == expected


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


def test_text_that_looks_like_json_or_like_nothing_stays_text() -> None:
    for said in ("[1, 2]", '{"answer": 3}', "None", "nan", "null", "[{}]"):
        read = read_row({"question": said, "answer": said}, "row 0")
        assert (read.prompt[-1].content, read.chosen) == (said, said)


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
