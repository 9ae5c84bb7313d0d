"""Rows -> examples. Every row has an outcome: an `Example`, or a `Skip` with a reason that is counted.

The last assistant turn is the answer and everything before it the prompt, which must end in a user turn; turns after
the answer are left out. Images belong to the first user turn, before or after its text. Reasons for a skip:

* ``no-image``: text only
* ``empty-prompt``, ``empty-answer``: no text where there must be some, or no such turn
* ``turn-order``: user and assistant do not take turns
* ``image-placement``: an image in a later turn or amid the text, or not as many placeholders as images
* ``bad-image``: an image that is missing, outside its root, corrupt, truncated, empty or too large
* ``malformed``: a cell that holds no text or messages
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from mmpref.data.schema import MARK, Shape, Turn, Unusable, image_cells, shape_of, turns_of
from mmpref.errors import ImageError, InputError
from mmpref.images import decode, read_under
from mmpref.tables import Table
from mmpref.types import Example, ImageData, Skip

__all__ = ["ImageRoots", "Source", "image_cells", "read_image"]

_COCO = re.compile(r"(?:^|[/_])(\d{12})\.(?:jpg|jpeg|png)$", re.IGNORECASE)


class ImageRoots:
    """Folders that image paths of rows are relative to. COCO names of 2014 and 2017 find each other by their id.

    Raises:
        InputError: a root that is no folder.
    """

    def __init__(self, roots: Sequence[str | Path]) -> None:
        self._roots = [Path(root).expanduser().resolve() for root in roots]
        for root in self._roots:
            if not root.is_dir():
                raise InputError(f"The image root {root} is not a folder.", "Check --image-root.")

    @cached_property
    def _coco(self) -> dict[int, tuple[Path, str]]:
        """Where each COCO image is, by its integer id: train2017 holds most of val2014, under other names."""
        found: dict[int, tuple[Path, str]] = {}
        for root in self._roots:
            for folder, inner, names in os.walk(root):
                inner.sort()
                for name in sorted(names):
                    if match := _COCO.search(name):
                        found.setdefault(int(match[1]), (root, os.path.relpath(os.path.join(folder, name), root)))
        return found

    def read(self, name: str) -> ImageData:
        """The image of that name under the first root that has it.

        Raises:
            ImageError: no root has it, or the path leaves every root.
        """
        if not self._roots:
            raise ImageError(f"image {name!r} is a path and no --image-root was given.")
        try:
            inside = [root for root in self._roots if (root / name).resolve().is_relative_to(root)]
            if not inside:
                raise ImageError(f"image path {name!r} leaves its root {self._roots[0]}.")
            for root in inside:
                if (root / name).is_file():
                    return read_under(root, name)
            if (match := _COCO.search(name)) and int(match[1]) in self._coco:
                return read_under(*self._coco[int(match[1])])
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(f"image path {name[:200]!r} cannot be read: {error}.") from error
        raise ImageError(f"no image file {name!r} under {', '.join(map(str, self._roots))}.",
                         "Name the folder that paths are relative to with --image-root.")  # fmt: skip


def read_image(cell: Any, roots: ImageRoots) -> ImageData:
    """The encoded image of a cell: bytes, a ``{"bytes", "path"}`` mapping, or a path under the roots.

    Raises:
        ImageError: it is none of these, or the path cannot be read.
    """
    if isinstance(cell, Mapping):
        content, path = cell.get("bytes"), cell.get("path")
        if isinstance(content, bytes):
            return ImageData(content, Path(path).name if isinstance(path, str) else "")
        cell = path
    if isinstance(cell, bytes):
        return ImageData(cell)
    if isinstance(cell, str):
        return roots.read(cell)
    raise ImageError(f"an image cell of type {type(cell).__name__} is no image.")


class Source:
    """The first rows of a table as examples. Looked through once when made, so that a file that breaks off or mixes
    shapes is refused before any work, not in the middle of it.

    Args:
        image_root: folders of the images; by default the folder of a local table.
        limit: take only the first rows.

    Raises:
        InputError: no rows, rows of no known shape, or of several.
    """

    def __init__(self, table: Table, image_root: Sequence[str] = (), limit: int | None = None) -> None:
        self._table, self._limit = table, limit
        self._roots = ImageRoots(image_root or ([table.root] if table.root else []))
        self._shape: Shape = ()
        self._names: list[str] = []
        used: set[str] = set()
        for number, row in enumerate(self._rows()):
            self._check_shape(number, row)
            given = row.get("id")
            name = (
                str(given) if isinstance(given, str | int) and str(given).isprintable() and given != "" else str(number)
            )
            while name in used:
                name = f"{name}#{number}"
            used.add(name)
            self._names.append(name)
        if not self._names:
            raise InputError(f"The source {table.spec} ({table.split}) has no rows.")

    def __len__(self) -> int:
        return len(self._names)

    def blocks(self, size: int, wanted: Callable[[int], bool]) -> Iterator[tuple[int, list[Example | Skip]]]:
        """Numbered blocks of ``size`` consecutive rows; images are read for the wanted ones only."""
        rows = enumerate(self._rows())
        for number in range(-(-len(self) // size)):
            block = list(islice(rows, size))
            if wanted(number):
                yield number, [self._outcome(*numbered) for numbered in block]

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        return islice(self._table, self._limit)

    def _check_shape(self, number: int, row: Mapping[str, Any]) -> None:
        where = f"{self._table.spec} ({self._table.split}), row {number}"
        shape = shape_of(row, where)
        self._shape = self._shape or shape
        if shape != self._shape:
            raise InputError(f"{where} is of another shape ({' + '.join(shape)}) than the rows before it "
                             f"({' + '.join(self._shape)}).", "Give one kind of rows at a time.")  # fmt: skip

    def _outcome(self, number: int, row: Mapping[str, Any]) -> Example | Skip:
        name = self._names[number]
        try:
            prompt, answer = _conversation(turns_of(row, self._shape), cells := image_cells(row))
            images = tuple(read_image(cell, self._roots) for cell in cells)
            for image in images:
                decode(image)
        except Unusable as unusable:
            return Skip(name, unusable.reason, unusable.detail)
        except ImageError as error:
            return Skip(name, "bad-image", str(error))
        messages = tuple(turn.message for turn in prompt)
        return Example(name, images, messages, answer, f"{self._table.name}/{self._table.split}/{number}")


def _conversation(turns: Sequence[Turn], cells: Sequence[Any]) -> tuple[Sequence[Turn], str]:
    """The prompt's turns and the answer."""
    last = max((i for i, turn in enumerate(turns) if turn.message.role == "assistant"), default=None)
    if last is None or not turns[last].message.content.strip():
        raise Unusable("empty-answer")
    prompt, answer = turns[:last], turns[last]
    talk = prompt[1:] if prompt and prompt[0].message.role == "system" else prompt
    if not talk or not all(turn.message.content.strip() for turn in talk if turn.message.role == "user"):
        raise Unusable("empty-prompt")
    if [turn.message.role for turn in talk] != ["user", "assistant"] * (len(talk) // 2) + ["user"]:
        raise Unusable("turn-order", ", ".join(turn.message.role for turn in turns))
    if not cells:
        raise Unusable("no-image")
    first = talk[0]
    if any(turn.placeholders or turn.inside for turn in (*prompt, answer) if turn is not first):
        raise Unusable("image-placement", f"{MARK} outside the first user turn")
    if first.inside:
        raise Unusable("image-placement", f"{MARK} amid the text")
    if first.placeholders not in (0, len(cells)):
        raise Unusable("image-placement", f"{first.placeholders} placeholders for {len(cells)} images")
    return prompt, answer.message.content
