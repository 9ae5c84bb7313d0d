"""Somebody's own data: a few photos, tables beside them, and what the commands make of these."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmpref.data.sources import Source
from mmpref.tables.columns import own_columns
from mmpref.tables.open import open_table
from mmpref.types import Example

from .commands import done

CAPTIONS = ("A dog, brown and small.", "Two cats on a sofa.", "A red ball.", "A boat.")
QUESTIONS = tuple(f"What is in picture {number}?" for number in range(4))
NAMES = tuple(f"IMG_{number}.jpg" for number in range(4))


def photo(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_csv(file: Path, columns: dict[str, Any], **options: Any) -> Path:
    with open(file, "w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, **options)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return file


def read(source: Path, image_root: str = "", **columns: str) -> list[Example]:
    """The examples of a source, all of which are ones."""
    table = open_table(str(source))
    roots = [image_root] if image_root else []
    source_ = Source(own_columns([table], columns), roots)
    rows = [row for _, block in source_.blocks(8, lambda _: True) for row in block]
    assert all(isinstance(row, Example) for row in rows), rows
    return [row for row in rows if isinstance(row, Example)]


def build(*options: object) -> dict[str, Any]:
    return done("build-dataset", "--method", "mismatched", *options)


def coco(**annotations: Any) -> dict[str, Any]:
    images = [{"id": 10 + number, "file_name": name, "height": 40} for number, name in enumerate(NAMES)]
    return {"info": {"year": 2017}, "licenses": [], "images": images, **annotations}
