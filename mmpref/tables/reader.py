"""Tables of preference rows, read by one rule whoever asks.

Every row is read by itself, whatever the shape of those before it; one of no known shape is ``malformed``. A table
of which no row has the columns that are needed is refused, by what its first row lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmpref.errors import InputError, brief
from mmpref.log import logger
from mmpref.tables.cells import columns_of
from mmpref.tables.conversations import REJECTED_POLICY, Fault, PreferenceRow, read_row
from mmpref.tables.shapes import SHAPES, rejected_column, unfolded
from mmpref.tables.table import Table

LOOKED_THROUGH = 1000
"""Rows after which a table is refused, where none has the columns: a large one is not read to its end for that."""


class TableReader:
    """Reads the rows of one table, in their order.

    Args:
        needs: answers (``chosen``, ``rejected``, ``rejected_policy``) that some row must have a column of.
    """

    def __init__(self, table: Table, needs: Sequence[str] = ("chosen",)) -> None:
        self.where = f"{table.spec} ({table.split})"
        self.unread: dict[str, None] = {}
        """Columns that look like answers or parts of the question, and are not read."""
        self._needs = needs
        self._rows, self._any_has_them = 0, False
        self._first: tuple[Mapping[str, Any], int] = ({}, 0)

    def read(self, row: Mapping[str, Any], number: int) -> PreferenceRow:
        """The next row, whose number in the table this is.

        Raises:
            InputError: so many rows were read, and none has the columns.
        """
        read = self.read_again(row, number)
        if self._rows == 0:
            self._first = row, number
        self._rows += 1
        self._any_has_them = self._any_has_them or not _lacking(row, read, self._needs)
        for column in read.unread:
            self.unread.setdefault(brief(column, 60))
        if self._rows == LOOKED_THROUGH:
            self.end()
        return read

    def read_again(self, row: Mapping[str, Any], number: int) -> PreferenceRow:
        """A row that was read before."""
        try:
            return read_row(row, f"{self.where}, row {number}", bare=True)
        except InputError:
            detail = f"its columns are {columns_of(unfolded(row))}: no shape that mmpref reads"
            fault = Fault("malformed", brief(detail, 600), "prompt", "row")
            return PreferenceRow((), "", "", "", (), (), (), (), (fault,))

    def end(self) -> None:
        """That was the last row.

        Raises:
            InputError: none of the rows has the columns.
        """
        if self._any_has_them or not self._rows:
            return
        row, number = self._first
        where = f"{self.where}, row {number}"
        read = read_row(row, where, bare=True)
        missing = _lacking(row, read, self._needs)
        columns = columns_of(unfolded(row))
        unread = f" {', '.join(read.unread)} is not read." if read.unread else ""
        if missing == [REJECTED_POLICY]:
            hint = "build-dataset with --set keep_rejected=true writes two rejected answers."
        elif "rejected" in self._needs:
            hint = "Preference data has prompt, chosen, rejected and images."
        else:
            hint = f"Known shapes: {SHAPES}."
        raise InputError(f"{where} lacks {', '.join(missing)}; its columns are {columns}.{unread}", hint)

    def warn_of_unread(self) -> None:
        """Say which columns were not read, each once."""
        for column in self.unread:
            logger.warning(
                "%s has the column %s, which looks like a rejected answer or a part of the question, and is not read.",
                self.where,
                column,
            )


def _lacking(row: Mapping[str, Any], read: PreferenceRow, needs: Sequence[str]) -> list[str]:
    """The answers of which a row has no column; where it is of no known shape, that too."""
    if not read.shape:
        return ["prompt", *needs]
    present = {
        "chosen": bool(read.shape[-1]),
        "rejected": rejected_column(unfolded(row)) is not None,
        REJECTED_POLICY: REJECTED_POLICY in row,
    }
    return [name for name in needs if not present[name]]
