"""A preference set of pictures, and builds of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from mmpref.data.contamination import ExcludedImages
from mmpref.data.recipe import BuildRecipe
from mmpref.types import ImageData


def picture(seed: int, size: tuple[int, int] = (120, 90), **saving: Any) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, saving.pop("format", "PNG"), **saving)
    return buffer.getvalue()


def write_pictures(folder: Path) -> Path:
    """Forty rows in ``rows.json``; ``test.json`` has the first five images."""
    rows = []
    for number in range(40):
        (folder / f"{number}.png").write_bytes(picture(number))
        rows.append(
            {
                "id": f"row{number}",
                "image": f"{number}.png",
                "prompt": "What is it?",
                "margin": number / 10,
                "source": "llava" if number % 2 else "svit",
                "chosen": f"It is {number}.",
                "rejected": "It is nothing.",
            }
        )
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "test.json").write_text(json.dumps([{"image": f"{number}.png"} for number in range(5)]))
    return folder


def recipe(source: Path, **changes: Any) -> BuildRecipe:
    return replace(BuildRecipe(None, str(source / "rows.json"), "mix", block_size=4), **changes)


def ids(run: Path) -> list[str]:
    return [row["id"] for file in sorted((run / "data").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def excluding(images: Iterable[ImageData]) -> ExcludedImages:
    excluded = ExcludedImages()
    for image in images:
        excluded.add(image)
    return excluded
