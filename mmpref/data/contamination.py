"""Rows whose images are in an evaluation set: no training set may have them.

They are skips with the reason ``in-evaluation-set``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmpref.data.perceptual_hash import NearIndex, PerceptualHash
from mmpref.errors import ImageError, InputError, brief
from mmpref.log import logger
from mmpref.run.directory import Run
from mmpref.run.inputs import refuse_changed_input
from mmpref.tables.cells import image_cells
from mmpref.tables.headings import unfolded
from mmpref.tables.image_cells import read_image
from mmpref.tables.image_roots import coco_id
from mmpref.tables.messages import further_images
from mmpref.tables.named_images import RecordingRoots, refuse_other_images
from mmpref.tables.open import open_table, with_split
from mmpref.tables.rows import read_row
from mmpref.tables.table import Table
from mmpref.types import Example, ImageData, Skip

EXCLUDED = "in-evaluation-set"
EXCLUDED_IMAGES = "excluded-images"
"""Name of the facts that a run pins of the images that tables to be excluded name."""


class ExcludedImages:
    """Images that must not be in a training set, recognised by COCO id and by what they look like."""

    def __init__(self) -> None:
        self._coco_ids: set[int] = set()
        self._index = NearIndex()
        self._hashes: set[PerceptualHash] = set()

    def add(self, image: ImageData) -> None:
        """Add an image.

        Raises:
            ImageError: it cannot be decoded.
        """
        image_hash = PerceptualHash.of(image)
        self.add_name(image.name)
        if image_hash not in self._hashes:
            self._hashes.add(image_hash)
            self._index.add(image_hash)

    def add_name(self, name: str) -> bool:
        """Add an image by its name alone; whether that is a COCO name."""
        if (number := coco_id(name)) is not None:
            self._coco_ids.add(number)
        return number is not None

    def __call__(self, example: Example) -> Example | Skip:
        """The example, or a skip where one of its images is among those.

        Raises:
            ImageError: an image that cannot be decoded.
        """
        for image in example.images:
            if (number := coco_id(image.name)) is not None and number in self._coco_ids:
                return Skip(example.id, EXCLUDED, f"COCO image {number}")
            if len(self._index) and any(True for _ in self._index.near(PerceptualHash.of(image))):
                return Skip(example.id, EXCLUDED, f"looks the same: {image.name or 'unnamed image'}")
        return example


def open_excluded(run: Run, names: Sequence[str], image_root: Sequence[str] = ()) -> ExcludedImages | None:
    """The images that no example may have, of a Hub dataset at the commit that the run began with; None where no table
    is named.

    Args:
        names: ``NAME`` or ``NAME:SPLIT`` of tables; the split is ``test`` unless told otherwise.
        image_root: folders and archives where images are looked for that do not lie beside their table.

    Raises:
        InputError: a table that cannot be read, or has no image that can be recognised.
        RunError: a table, or an image that it names, that has changed since the run began.
    """
    if not names:
        return None
    begun = run.pinned("excluded").get("tables") or [{}] * len(names)
    tables = [
        open_table(*with_split(name, "test"), revision=facts.get("revision"))
        for name, facts in zip(names, begun, strict=True)
    ]
    for table, facts in zip(tables, begun, strict=True):
        if facts.get("fingerprint", table.fingerprint) != table.fingerprint:
            refuse_changed_input(run.path, f"The data of --exclude-images-of: {table.spec} has changed")
    run.pin("excluded", {"tables": [table.facts() for table in tables]})
    excluded = ExcludedImages()
    named = [_exclude(excluded, table, image_root) for table in tables]
    for before, now in zip(run.pin(EXCLUDED_IMAGES, {"tables": named})["tables"], named, strict=True):
        refuse_other_images(run.path, before, now)
    return excluded


def _exclude(excluded: ExcludedImages, table: Table, image_root: Sequence[str]) -> dict[str, str]:
    """Add the images of a table, and say of how many there is nothing to recognise them by. Where an image cannot be
    read, a COCO name will do.

    Returns:
        `mmpref.tables.named_images.Digests` of those that its rows name.
    """
    roots, where = RecordingRoots((*table.images, *image_root)), f"{table.spec} ({table.split})"
    images, unreadable, by_name, first_error = 0, 0, 0, ""
    for row in table:
        for cell in _cells(row):
            images += 1
            try:
                excluded.add(read_image(cell, roots))
            except ImageError as error:
                if isinstance(cell, str) and excluded.add_name(cell):
                    by_name += 1
                else:
                    unreadable, first_error = unreadable + 1, first_error or str(error)
    if unreadable == images:
        raise InputError(f"No image of {where} can be read, so none can be excluded.", first_error)
    if unreadable:
        logger.warning(
            "Warning: %d of %d images of %s cannot be read, and rows with them are not left out. First: %s",
            unreadable,
            images,
            where,
            brief(first_error, 300),
        )
    if by_name:
        logger.warning(
            "Warning: %d of %d images of %s cannot be read and are known by their COCO id alone: rows that have one of "
            "them by another name are not left out.",
            by_name,
            images,
            where,
        )
    return roots.take()


def _cells(row: Mapping[str, Any]) -> list[Any]:
    """The image cells of a row of any shape: of its image column, or of its messages; and those of further images."""
    row = unfolded(row)
    cells = image_cells(row)
    if not cells:
        with contextlib.suppress(InputError):
            cells = [*read_row(row, "a row").images]
    return [*cells, *(cell for name in further_images(row) for cell in image_cells({"images": row[name]}))]
