"""A column is found whatever capitals and spaces its heading has, by whoever looks for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmpref
from mmpref.data.contamination import _cells
from mmpref.data.inspect import inspect
from mmpref.data.row_facts import FACTS, PROVENANCE
from mmpref.errors import InputError
from mmpref.tables.cells import OBJECTS, plain_name
from mmpref.tables.columns import own_columns
from mmpref.tables.headings import unfolded
from mmpref.tables.messages import CONTEXT, MEDIA
from mmpref.tables.parts import PARTS
from mmpref.tables.rows import read_row
from mmpref.types import Example, Skip
from tests.tables.made_rows import BAD, CELL, GOOD, Q, built, table

READERS = [
    *Path(mmpref.__file__).parent.glob("tables/*.py"),
    *(Path(mmpref.__file__).parent / "data" / name for name in ("sources.py", "row_facts.py", "inspect.py")),
]
LOOKED_FOR = re.compile(r'\brow(?:\.get\(|\[)"([^"]+)"|"([^"]+)" (?:not )?in (?:self\.)?row\b')
IN_CODE = {first or second for file in READERS for first, second in LOOKED_FOR.findall(file.read_text())}
NAMES = sorted(
    {
        *(name for names in PARTS.values() for name in names),
        *(*CONTEXT, *MEDIA, *OBJECTS, *FACTS, *PROVENANCE),
        *("image_2", "image_0", "loser_answer", "response_a", "response_b"),
        *IN_CODE,
    }
)


@st.composite
def heading(draw: st.DrawFn, name: str) -> str:
    """The name as somebody may write it in the first line of a spreadsheet."""
    letters = [draw(st.sampled_from((letter, letter.upper()))) for letter in name]
    return "".join(draw(st.sampled_from(("_", " ", "  "))) if letter == "_" else letter for letter in letters)


def test_the_names_that_are_looked_for_in_code_are_seen_here() -> None:
    assert {"label", "kto_tag", "history", "system", "input", "id", "source_id"} <= IN_CODE


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("_")])
@given(data=st.data())
def test_every_column_that_is_looked_for_is_found(name: str, data: st.DataObject) -> None:
    assert plain_name(name) == name
    assert dict(unfolded({data.draw(heading(name)): 1, "Other": 2})) == {name: 1, "other": 2}


ROWS: dict[str, dict[str, Any]] = {
    "a bad answer": {"prompt": Q, "completion": BAD, "label": "False"},
    "a question and its label": {"text": Q, "label": "no"},
    "a further image": {"question": Q, "answer": GOOD, "image_2": CELL},
    "an input": {"instruction": Q, "input": "Briefly.", "output": GOOD},
    "a system text": {"system": "In German.", "question": Q, "answer": GOOD},
    "earlier rounds": {"query": Q, "response": GOOD, "history": '[["Who?", "Nobody."]]'},
    "a video": {"question": Q, "answer": GOOD, "video": "a.mp4"},
    "answers that a pair names": {"prompt": Q, "chosen": "A", "rejected": "B", "response_a": GOOD, "response_b": BAD},
    "a name, a severity and objects": {"id": "7", "question": Q, "answer": GOOD, "severity": 2, "objects": "cup, fork"},
    "a caption, whose column is JSON text": {"text": f'{{"question": "{Q}", "chosen": "{GOOD}"}}'},
    "a webdataset's": {"__key__": "7", "txt": GOOD},
}


def outcome(row: dict[str, Any]) -> Example | tuple[str, str] | str:
    try:
        [made] = built(table(row))
    except InputError:
        return "refused"
    return (made.id, made.reason) if isinstance(made, Skip) else made


@pytest.mark.parametrize("name", ROWS)
def test_a_row_with_headings_in_capitals_is_read_as_its_twin(name: str) -> None:
    row = {**ROWS[name], "image": CELL}
    for change in (str.title, str.upper, lambda column: column.title().replace("_", " ")):
        assert outcome({change(column) if column[0] != "_" else column: cell for column, cell in row.items()}) == (
            outcome(row)
        )


def test_what_is_not_read_is_told_as_its_owner_wrote_it() -> None:
    row = {"Image": CELL, "Question": Q, "Answer": GOOD}
    [skip] = built(table({**row, "Image 2": CELL}))
    assert skip == Skip("0", "not-read", "the row has Image 2, which mmpref does not read")
    assert read_row({**row, "Hint": "Red.", "Losing Answer": BAD}, "a row").unread == ("Losing Answer", "Hint")
    [skip] = built(table({"Photo 1": CELL, "Question": Q, "Answer": GOOD}))
    assert skip == Skip("0", "no-image", "Photo 1 is not read as an image")


def test_columns_that_are_named_and_a_prompt_that_is_given_leave_the_others_to_their_reader() -> None:
    row = {"Bild": CELL, "Completion": BAD, "Label": False, "AI_report": "?"}
    [named] = own_columns([table(row)], {"image": "Bild"}, Q, read=lambda row: dict(row))
    [again] = named
    assert again == {"image": CELL, "prompt": Q, "completion": BAD, "Label": False, "AI_report": "?"}
    [skip] = built(named)
    assert isinstance(skip, Skip)
    assert skip.reason == "not-read"


def test_other_readers_of_rows_find_them_too() -> None:
    assert _cells({"Image": CELL}) == [CELL]
    row = {"Image": CELL, "Prompt": Q, "Chosen": GOOD, "Rejected": BAD, "Similarity": "0.5", "Source": "books"}
    assert inspect(table(row)) | {"columns": []} == inspect(
        table({plain_name(name): cell for name, cell in row.items()})
    ) | {"columns": []}
