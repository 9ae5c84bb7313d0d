"""Results that show themselves as a table."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.run.results_text import html_table, plain_table

if TYPE_CHECKING:
    import pandas as pd


class TableRepr:
    """What shows itself as a table: text by ``repr``, HTML in a notebook, a frame by ``to_pandas()``."""

    title = ""

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Columns (no names where there is nothing to name) and rows of text."""
        raise NotImplementedError

    def remarks(self) -> Sequence[str]:
        """Lines below the table."""
        return ()

    def to_pandas(self) -> pd.DataFrame:
        """The table as a frame."""
        import pandas as pd

        columns, rows = self.table()
        return pd.DataFrame([list(row) for row in rows], columns=list(columns) if any(columns) else ["what", "value"])

    def __repr__(self) -> str:
        columns, rows = self.table()
        if any(columns):
            return "\n".join([self.title, plain_table(columns, rows), *self.remarks()])
        width = max(len(name) for name, _ in rows)
        return "\n".join([self.title, *(f"{name:{width}}  {text}" for name, text in rows), *self.remarks()])

    def _repr_html_(self) -> str:
        below = "".join(f"\n<p>{html.escape(line)}</p>" for line in self.remarks())
        return f"<b>{html.escape(self.title)}</b>\n{html_table(*self.table())}{below}"
