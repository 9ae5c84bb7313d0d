"""What a build has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows of a run, in their order."""
    return [row for file in sorted((run / "data").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
