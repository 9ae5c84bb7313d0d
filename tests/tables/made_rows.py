"""What the tests of tables share: rows of one picture, how each command reads them, and files of rows."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from mmpref.align.preference_data import Pairs, collect_pairs
from mmpref.data.sources import Source
from mmpref.tables.table import Table
from mmpref.types import Example, Skip

Q, GOOD, BAD = "What is it?", "A red cup.", "A blue fork."


def png(color: str = "red", size: tuple[int, int] = (6, 4)) -> bytes:
    """A picture of one colour."""
    content = io.BytesIO()
    Image.new("RGB", size, color).save(content, "PNG")
    return content.getvalue()


PNG = png()
CELL = {"bytes": PNG, "path": "a.png"}
BASE64 = base64.b64encode(PNG).decode()
URI = f"data:image/png;base64,{BASE64}"
USER, ASSISTANT = {"role": "user", "content": Q}, {"role": "assistant", "content": GOOD}
GOOD_ROW: dict[str, Any] = {"image": CELL, "prompt": Q, "chosen": GOOD, "rejected": BAD}


def user(*parts: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts), **more}, ASSISTANT]


def text(value: str = Q, kind: str = "text") -> dict[str, str]:
    return {"type": kind, "text": value}


def table(*rows: dict[str, Any], root: Path | None = None) -> Table:
    return Table("me/rows", "train", None, "1", None, lambda: iter(rows), root)


def built(source: Table, pairs: bool = False) -> list[Example | Skip]:
    """What build-dataset makes of the rows."""
    return [one for _, block in Source(source, pairs=pairs).blocks(8, lambda _: True) for one in block]


def trained(source: Table, folder: Path, **settings: Any) -> Pairs:
    """What training makes of the rows."""
    folder.mkdir(exist_ok=True)
    return collect_pairs([source], folder, image_token="<image>", **settings)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of rows, in the format that its ending names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
