"""The pictures of a card's sample pairs: small copies, made anew from the data, without anything that files carry."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmpref.errors import ImageError
from mmpref.images import decode
from mmpref.types import ImageData

FOLDER = "pictures"
PATTERN = f"{FOLDER}/pair-*.jpg"
"""Of all of them, in a run and in its repository."""
SIDE, SHOWN = 256, 4
"""Pixels of the longer side, and how many images of one pair are shown."""


def small_pictures(number: int, images: Sequence[ImageData]) -> dict[str, bytes]:
    """JPEG files by path: of the images of a card's sample pair, those that can be decoded.

    Args:
        number: of the pair in the card, from 1.
    """
    pictures = {}
    for place, image in enumerate(images[:SHOWN], 1):
        try:
            picture = decode(image)
        except ImageError:
            continue
        picture.thumbnail((SIDE, SIDE))
        picture.info.clear()  # a comment of the source's would be written
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=85)
        pictures[f"{FOLDER}/pair-{number}{f'-{place}' if place > 1 else ''}.jpg"] = content.getvalue()
    return pictures


def images_of_rows(files: Sequence[Path], rows: Iterable[int]) -> dict[int, list[ImageData]]:
    """The images of some rows of Parquet files, without reading those of others far from them.

    Args:
        rows: numbers over all files, in their order.
    """
    import pyarrow.parquet as pq

    wanted, found, start = sorted(set(rows)), dict[int, list[ImageData]](), 0
    for path in files:
        file = pq.ParquetFile(path, pre_buffer=False)
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            inside = [row for row in wanted if start <= row < end]
            at = start
            batches = file.iter_batches(batch_size=16, row_groups=[group], columns=["images"]) if inside else ()
            for batch in batches:
                for row in (row for row in inside if at <= row < at + len(batch)):
                    cells = batch.column(0)[row - at].as_py() or []
                    found[row] = [ImageData(cell["bytes"]) for cell in cells if cell and cell.get("bytes")]
                at += len(batch)
                if at > inside[-1]:
                    break
            start = end
    return found
