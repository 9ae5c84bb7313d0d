"""Rows whose prompt has answers in it: earlier rounds, a whole conversation, the beginning of an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpref.data.inspect import inspect
from mmpref.data.sources import Source
from mmpref.tables.rows import read_row
from mmpref.types import Example, Skip, as_dicts, context_of
from tests.tables.made_rows import ASSISTANT, BAD, CELL, GOOD, USER, Q, built, table, trained


def test_earlier_rounds_and_an_instructions_input_are_part_of_the_prompt() -> None:
    row = {"instruction": "Say it.", "input": Q, "output": GOOD, "history": [["Hi", "Hello."]], "system": "S"}
    read = read_row(row, "row 0")
    assert [turn.content for turn in read.prompt] == ["S", "Hi", "Hello.", f"Say it.\n{Q}"]


@pytest.mark.parametrize(
    ("instruction", "more", "prompt", "outcome"),
    [
        (Q, "<image>", Q, "images_moved_first"),
        ("<image>", Q, Q, ""),
        ("<image>Say it.", f"{Q} ", f"Say it.\n{Q} ", ""),
        (Q, "<image>\nBriefly.", None, "image-placement"),
        (f"{Q}<image>", "Briefly.", None, "image-placement"),
        (Q, "<image><image>", None, "image-placement"),
    ],
)
def test_a_placeholder_in_an_instructions_input_stands_for_its_image(
    instruction: str, more: str, prompt: str | None, outcome: str
) -> None:
    [made] = built(table({"instruction": instruction, "input": more, "output": GOOD, "image": CELL}))
    if isinstance(made, Skip):
        assert (made.reason, prompt) == (outcome, None)
    else:
        assert (made.prompt[0].content.lstrip("\n"), made.notes) == (prompt, (outcome,) if outcome else ())


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
