"""Rows -> examples. Every row has an outcome: an `Example`, or a `Skip` with a reason that is counted.

The conversation up to the last user turn is the prompt and the assistant turn behind it the answer. Images belong to
the first user turn; rows that place one elsewhere are skipped (``image-in-later-turn``). The other reasons are
``no-image`` (text only), ``empty-answer``, ``empty-prompt``, ``no-turns`` and ``bad-image``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mmpref.data.schema import Turns, Unusable, shape_of, turns_of
from mmpref.errors import ImageError
from mmpref.images import decode, read_under
from mmpref.tables import Table
from mmpref.types import Example, ImageData, Skip

_COCO = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})\.(?:jpg|jpeg|png)$", re.IGNORECASE)


class ImageRoots:
    """Folders that image paths of rows are relative to. COCO names of 2014 and 2017 find each other by their id."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = [Path(root) for root in roots]
        for root in self._roots:
            if not root.is_dir():
                raise ImageError(f"--image-root {root} is not a folder.")

    @cached_property
    def _coco(self) -> dict[str, tuple[Path, str]]:
        found: dict[str, tuple[Path, str]] = {}
        for root in self._roots:
            for path in sorted(root.rglob("*")):
                if match := _COCO.search(path.name):
                    found.setdefault(match[1], (root, str(path.relative_to(root))))
        return found

    def read(self, name: str) -> ImageData:
        """The image of that name under the first root that has it.

        Raises:
            ImageError: no root has it, or the path leaves its root.
        """
        if not self._roots:
            raise ImageError(f"image {name!r} is a path and no --image-root was given.")
        missing: ImageError | None = None
        for root in self._roots:
            for candidate in dict.fromkeys((name, Path(name).name)):
                try:
                    return read_under(root, candidate)
                except ImageError as error:
                    missing = missing or error
        match = _COCO.search(name)
        if match and match[1] in self._coco:
            root, relative = self._coco[match[1]]
            return read_under(root, relative)
        assert missing is not None
        raise missing


def read_examples(table: Table, image_root: Sequence[str] = (), limit: int | None = None) -> Iterator[Example | Skip]:
    """Examples and skips, one for each row, in order; ids are unique.

    Raises:
        InputError: rows of no known shape, or of several.
    """
    roots = ImageRoots(image_root)
    shape: str | None = None
    used: set[str] = set()
    for number, row in enumerate(table):
        if limit is not None and number >= limit:
            return
        where = f"{table.spec} ({table.split}), row {number}"
        shape = shape or shape_of(row, where)
        given = str(row["id"]) if row.get("id") not in (None, "") else str(number)
        name = given if given not in used else f"{given}#{number}"
        used.add(name)
        try:
            yield _example(row, turns_of(row, shape, where), name, f"{table.spec}/{table.split}/{number}", roots)
        except Unusable as unusable:
            yield Skip(name, unusable.reason, unusable.detail)
        except ImageError as error:
            yield Skip(name, "bad-image", str(error))


def _example(row: Mapping[str, Any], turns: Turns, name: str, source_id: str, roots: ImageRoots) -> Example:
    messages = turns.messages
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if last < 1 or messages[last - 1].role != "user":
        raise Unusable("no-turns")
    prompt, answer = messages[:last], messages[last].content
    if not answer.strip():
        raise Unusable("empty-answer")
    first_user = next(i for i, message in enumerate(prompt) if message.role == "user")
    if not all(message.content.strip() for message in prompt if message.role == "user"):
        raise Unusable("empty-prompt")
    if any(count for i, count in enumerate(turns.images_per_turn) if i != first_user):
        raise Unusable("image-in-later-turn")
    images = tuple(read_image(cell, roots) for cell in image_cells(row))
    if not images:
        raise Unusable("no-image")
    for image in images:
        decode(image)
    return Example(name, images, prompt, answer, source_id)


def image_cells(row: Mapping[str, Any]) -> list[Any]:
    """The image cells of a row, of whichever image column it has."""
    cells = row.get("images") if row.get("images") is not None else row.get("image")
    if cells is None:
        cells = row.get("img_path") or row.get("image_path")
    cells = cells if isinstance(cells, list) else [cells]
    return [cell for cell in cells if cell is not None]


def read_image(cell: Any, roots: ImageRoots) -> ImageData:
    """The encoded image of a cell: bytes, a ``{"bytes", "path"}`` mapping, or a path under the roots.

    Raises:
        ImageError: it is none of these, or the path cannot be read.
    """
    if isinstance(cell, Mapping):
        content, path = cell.get("bytes"), cell.get("path")
        if content is not None:
            return ImageData(bytes(content), Path(path).name if path else "")
        cell = path
    if isinstance(cell, bytes):
        return ImageData(cell)
    if isinstance(cell, str):
        return roots.read(cell)
    raise ImageError(f"an image cell of type {type(cell).__name__} is no image.")
