"""Columns under the names that their owner gave them: ``{"prompt": "question"}`` says what a row calls its prompt."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mmpref.errors import AbsentColumnError, MmprefError, UsageError
from mmpref.registry import did_you_mean, suggest
from mmpref.tables.cells import NamedRow, columns_of, is_empty, plain_name
from mmpref.tables.headings import unfolded
from mmpref.tables.messages import CHOSEN, QUESTIONS, WHOLE
from mmpref.tables.parts import PARTS, has_question
from mmpref.tables.rows import read_row
from mmpref.tables.table import LOOKED_THROUGH, Row, Table

_BESIDE = ("id", "severity", "hardness", "chosen_weights", "rejected_weights")
"""What some commands and methods read of a row beside its conversation and images."""
_SHARED = frozenset(name for names in PARTS.values() for name in names)
"""Headings that mean the same whoever reads the rows; others stay as they are written, as their reader may want."""
FIRST_ROWS = 64
"""So many rows tell whether a part is read."""


def with_columns(table: Table, columns: Mapping[str, str], parts: Mapping[str, tuple[str, ...]] | None = None) -> Table:
    """The table with columns called what their reader calls them.

    Args:
        columns: what the reader calls a column -> what the rows call it. A row without it stays as it is there.
        parts: everything that can be named, each with what is not read beside it; None for a reader of any names.

    Raises:
        UsageError: a name that is no part.
        AbsentColumnError: a column that none of the first rows has.
    """
    for part in columns:
        if parts and part not in parts:
            raise UsageError(
                f"columns names {part!r}, which is no part of a row.",
                _as_column(table, part, columns[part]) or suggest(part, sorted(parts)),
            )
    _refuse_absent(table, columns)

    def rows() -> Iterator[Row]:
        return (_renamed(_shared(row), columns, parts or {}) for row in table)

    return dataclasses.replace(table, rows=rows)


def _shared(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return unfolded(row, _SHARED)


def _as_column(table: Table, part: str, column: str) -> str:
    """What to write where the name that stands for a part is a column; "" where it is none."""
    first = _shared(next(iter(table), {}))
    if part not in first and plain_name(part) not in first:
        return ""
    if column in PARTS:
        return f"The part comes first, then the column: {_option(column, part)}"
    return f"{part!r} is a column: a part comes first, {_option('PART', part)}. Parts are: {', '.join(sorted(PARTS))}."


def _option(part: str, column: str) -> str:
    return f"--columns={shlex.quote(f'{part}={column}')}"


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str], parts: Mapping[str, tuple[str, ...]]) -> Row:
    columns = {part: column if column in row else plain_name(column) for part, column in columns.items()}
    named = {part: row[column] for part, column in columns.items() if column in row}
    gone = {columns[part] for part in named}.union(*(parts.get(part, ()) for part in named))
    cells = {**{name: cell for name, cell in row.items() if name not in gone}, **named}
    return NamedRow(cells, {part: columns[part] for part in named}, row)


def _refuse_absent(table: Table, columns: Mapping[str, str]) -> None:
    absent = set(columns.values())
    first: Mapping[str, Any] | None = None
    for raw in islice(table, LOOKED_THROUGH):
        row = _shared(raw)
        first = row if first is None else first
        absent = {column for column in absent if column not in row and plain_name(column) not in row}
        if not absent:
            return
    if first is None:
        return  # whoever reads it says that there are no rows
    part, column = next((part, column) for part, column in columns.items() if column in absent)
    swapped = column in PARTS and part not in PARTS
    raise AbsentColumnError(
        f"{table.spec} ({table.split}) has no column {column!r}, which --columns {part}={column} names; its columns "
        f"are {columns_of(first)}.",
        (_as_column(table, part, column) if swapped else "") or did_you_mean(column, map(str, first)),
        absent,
    )


def read_parts(row: Row) -> Any:
    """All that any command reads of a row of a known shape.

    Raises:
        InputError: it is of none.
    """
    read = read_row(row, "a row")
    return read.prompt, read.chosen, read.rejected, read.rejected_policy, read.images, *map(row.get, _BESIDE)


def unread_parts(rows: Sequence[Row], parts: Iterable[str], read: Callable[[Sequence[Row]], Any]) -> set[str]:
    """Those of the named parts that nothing reads: without their cells the rows read the same.

    Args:
        rows: the first of a table. Of a part that is empty in all of them nothing can be told, and of none where they
            cannot be read: whoever reads them says so.
        read: what is made of rows.
    """
    try:
        whole = read(rows)
    except MmprefError:
        return set()
    filled = (part for part in parts if any(not is_empty(row.get(part)) for row in rows))
    return {part for part in filled if _reads_as(whole, _without(part, rows), read)}


def _without(part: str, rows: Sequence[Row]) -> list[Row]:
    return [{name: cell for name, cell in row.items() if name != part} for row in rows]


def _reads_as(whole: Any, rows: Sequence[Row], read: Callable[[Sequence[Row]], Any]) -> bool:
    try:
        return bool(read(rows) == whole)
    except (MmprefError, ValueError):  # the second of arrays, which are compared number by number
        return False


def refuse_unread(unread: Sequence[set[str]], columns: Mapping[str, str], whose: str) -> None:
    """Refuse a named column that would be left aside.

    Args:
        unread: by table, what `unread_parts` finds.
        whose: names the tables.

    Raises:
        UsageError: a part that none of the tables is read by.
    """
    for part in (part for part in columns if unread and all(part in parts for parts in unread)):
        raise UsageError(
            f"--columns {part}={columns[part]} changes nothing: no {part!r} is read of {whose}.",
            "Leave it out, or name the part that the column is.",
        )


def own_columns(
    tables: Sequence[Table],
    columns: Mapping[str, str] | None,
    default_prompt: str | None = None,
    read: Callable[[Row], Any] = read_parts,
) -> list[Table]:
    """Tables of preference or supervised rows with the columns that their owner names, and a prompt where there is
    none.

    Args:
        read: what is made of a row.

    Raises:
        UsageError: a name that is no part of a row, or that nothing reads.
        InputError: a column that a table has not.
    """
    if columns:
        tables = [with_columns(table, columns, PARTS) for table in tables]
        unread = [
            unread_parts([*islice(table, FIRST_ROWS)], columns, lambda rows: [read(row) for row in rows])
            for table in tables
        ]
        refuse_unread(unread, columns, " and ".join(table.spec for table in tables))
    return [with_prompt(table, default_prompt) for table in tables] if default_prompt else list(tables)


def with_prompt(table: Table, prompt: str) -> Table:
    """The table with this prompt in rows that have none."""

    def rows() -> Iterator[Row]:
        return (_prompted(_shared(row), prompt) for row in table)

    return dataclasses.replace(table, rows=rows)


def _prompted(row: Mapping[str, Any], prompt: str) -> Row:
    asked = any(not is_empty(row.get(name)) for name in (*WHOLE, *QUESTIONS))
    if asked or any(has_question(row.get(name)) for name in CHOSEN):
        return row if isinstance(row, dict) else dict(row)
    cells = {name: cell for name, cell in row.items() if name not in (*WHOLE, *QUESTIONS)}
    return NamedRow({**cells, "prompt": prompt}, {}, row)
