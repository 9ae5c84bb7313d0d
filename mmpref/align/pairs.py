"""Preference rows for training: read through the table door, checked, images decoded only when a batch needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import ImageError, InputError
from mmpref.images import decode
from mmpref.tables import Table
from mmpref.types import ImageData

COLUMNS = ("prompt", "chosen", "rejected")


class Pairs:
    """Usable rows of preference tables; what was left out is counted in ``skipped`` once they have been read.

    Raises (while reading):
        InputError: a column is missing, or a cell has another shape than TRL's conversational form.
    """

    def __init__(self, tables: Sequence[Table], limit: int | None = None) -> None:
        self._tables = tables
        self._limit = limit
        self.skipped: dict[str, int] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.skipped = {}
        taken = 0
        for table in self._tables:
            for number, row in enumerate(table):
                if self._limit is not None and taken >= self._limit:
                    return
                pair = self._pair(row, f"{table.spec} ({table.split}), row {number}")
                if pair is not None:
                    taken += 1
                    yield pair

    def _pair(self, row: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        missing = [name for name in COLUMNS if name not in row]
        if missing or not ("images" in row or "image" in row):
            lacks = ", ".join([*missing, *([] if "images" in row or "image" in row else ["images"])])
            raise InputError(f"{where} lacks the column(s) {lacks}; it has {', '.join(row)}.",
                             "Preference rows need images, prompt, chosen, rejected.")  # fmt: skip
        turns = {name: _turns(row[name], f"{where}, column {name}", name) for name in COLUMNS}
        cells = row.get("images") if row.get("images") is not None else row.get("image")
        images = [cell for cell in (cells if isinstance(cells, list) else [cells]) if cell is not None]
        if not images:
            return self._skip("no-image")
        if turns["chosen"] == turns["rejected"]:
            return self._skip("same-as-chosen")
        if not all(turn["content"].strip() for turn in (*turns["chosen"], *turns["rejected"])):
            return self._skip("empty-answer")
        try:
            encoded = [_encoded(cell, where) for cell in images]
            for image in encoded:
                decode(image)
        except ImageError:
            return self._skip("bad-image")
        return {"images": [{"bytes": image.content, "path": None} for image in encoded], **turns}

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def _turns(cell: Any, where: str, name: str) -> list[dict[str, str]]:
    """TRL conversational messages with plain-string contents."""
    if isinstance(cell, str):
        return [{"role": "user" if name == "prompt" else "assistant", "content": cell}]
    if not isinstance(cell, list) or not cell or not all(isinstance(turn, Mapping) and "role" in turn for turn in cell):
        raise InputError(f"{where} is no list of messages.", 'Each message is {"role": ..., "content": ...}.')
    return [{"role": str(turn["role"]), "content": _text(turn.get("content"))} for turn in cell]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return (content or "").replace("<image>", "").strip() if "<image>" in (content or "") else content or ""


def _encoded(cell: Any, where: str) -> ImageData:
    if isinstance(cell, Mapping) and cell.get("bytes"):
        return ImageData(bytes(cell["bytes"]), where)
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    if isinstance(path, str) and Path(path).is_file():
        return ImageData(Path(path).read_bytes(), path)
    raise ImageError(f"{where} holds no image that can be read.")


def dataset(pairs: Pairs, cache: Path) -> Any:
    """The pairs as a `datasets.Dataset` on disk, in TRL's columns.

    Raises:
        InputError: no usable row.
    """
    import datasets
    from datasets import Image, List, Value

    turns = List({"role": Value("string"), "content": Value("string")})
    features = datasets.Features({"images": List(Image()), **dict.fromkeys(COLUMNS, turns)})
    rows = datasets.Dataset.from_generator(
        lambda: iter(pairs), features=features, cache_dir=str(cache), fingerprint="pairs"
    )
    if len(rows) == 0:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in pairs.skipped.items()) or "it is empty"
        raise InputError(f"The preference data has no usable row ({reasons}).")
    return rows
