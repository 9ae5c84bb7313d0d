"""Each row of a table is read by itself; a table of which none is of use is refused by all commands alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.pairs import labelled_pairs
from mmpref.data.inspect import inspect
from mmpref.data.sources import Source
from mmpref.errors import InputError
from mmpref.tables.table import Table
from mmpref.types import Example, Skip
from tests.tables.made_rows import ASSISTANT, BAD, CELL, GOOD, GOOD_ROW, USER, Q, built, table, trained


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


def test_rows_with_one_answer_are_told_what_makes_pairs_of_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks rejected") as told:
        inspect(table({"image": CELL, "messages": [USER, ASSISTANT]}))
    assert "`mmpref build-dataset --source` makes pairs of rows with one answer" in told.value.hint


def test_a_conversation_holds_its_prompt_whatever_stands_beside_it() -> None:
    whole = {"chosen": [USER, ASSISTANT], "rejected": [USER, {**ASSISTANT, "content": BAD}], "answer": GOOD}
    assert inspect(table({"image": CELL, **whole}))["usable"] == 1


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
        ({"a": 1}, "row 0 (counted from 0) has the columns a: no shape that mmpref reads"),
        (
            {"image": CELL, "messages": [USER, ASSISTANT]},
            "row 0 (counted from 0) lacks rejected; its columns are image, messages",
        ),
        (
            {"image": CELL, "answer": GOOD, "rejected": BAD},
            "row 0 (counted from 0) lacks prompt; its columns are image, answer, rejected",
        ),
        (
            {"image": CELL, "chosen": GOOD, "rejected": BAD},
            "row 0 (counted from 0) lacks prompt; its columns are image, chosen, rejected",
        ),
        (
            {"image": CELL, "prompt": Q, "rejected": BAD},
            "row 0 (counted from 0) lacks chosen; its columns are image, prompt, rejected",
        ),
        (
            {"image": CELL, "prompt": Q},
            "row 0 (counted from 0) lacks chosen, rejected; its columns are image, prompt",
        ),
        (
            {"__key__": "0", "png": CELL, "json": {"prompt": Q, "chosen": GOOD}},
            "row 0 (counted from 0) lacks rejected; its columns are id, prompt, chosen, images",
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
