"""What is in a preference dataset and what is wrong with it: every row is read once, every problem has its place."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.data.patterns import NearDuplicates, Repeats
from mmpref.data.sources import ImageRoots, image_cells, read_image
from mmpref.data.stats import EDGES, SHOWN_IDS, differing_share, histogram, length_bias, length_warnings, spread
from mmpref.errors import ImageError, InputError
from mmpref.images import decode
from mmpref.registry import resolve_path
from mmpref.tables import Table
from mmpref.types import ImageData
from mmpref.words import words

TEXTS = ("prompt", "chosen", "rejected")
PROBLEMS = {
    "columns": "columns are not those of the first row",
    "missing": "a column that preference data needs is missing",
    "malformed": "a column holds no text or messages",
    "empty": "a text is empty",
    "equal-answers": "chosen and rejected are the same",
    "duplicate": "images, prompt and answers are those of an earlier row",
    "no-image": "no image",
    "bad-image": "an image cannot be used",
}
"""Kinds of problems, in the order they are shown, and what they mean."""


@dataclass(frozen=True)
class Sample:
    """One row to look at: its number from 0, texts, the usable images, and its problems.

    Args:
        source: which set the row is from, as far as it says.
        differing: share of the words in which the answers differ.
    """

    number: int
    images: tuple[ImageData, ...]
    prompt: str
    chosen: str
    rejected: str
    method: str
    source: str
    similarity: float | None
    differing: float
    problems: tuple[str, ...]


class Problems:
    """Counts of problems by kind, and where the first of each are."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, row: int, column: str, detail: str) -> None:
        entry = self._found.setdefault(kind, {"count": 0, "first": []})
        entry["count"] += 1
        if len(entry["first"]) < SHOWN_IDS:
            entry["first"].append({"row": row, "column": column, "detail": detail})

    def as_plain(self) -> dict[str, Any]:
        return {kind: self._found[kind] for kind in PROBLEMS if kind in self._found}


def inspect(
    table: Table, image_root: Sequence[str] = (), on_row: Callable[[Sample], None] | None = None
) -> dict[str, Any]:
    """Read all rows of a preference dataset.

    Args:
        image_root: folders that image paths in rows are relative to; by default the dataset's own folder.
        on_row: is given every row to look at.

    Returns:
        The report (rows, problems by kind with row and column, words, length bias and warnings of it, similarity,
        differing share, images a row, rows by method and by source, near duplicates, sentences that rejected answers
        repeat).

    Raises:
        InputError: no rows, or rows that are no preference data at all.
    """
    collected = _Collected(table, ImageRoots(image_root or _own_folder(table)))
    for number, row in enumerate(table):
        sample = collected.add(number, row)
        if on_row:
            on_row(sample)
    if collected.rows == 0:
        raise InputError(f"{table.spec} ({table.split}) has no rows.")
    return collected.report()


def _own_folder(table: Table) -> tuple[str, ...]:
    path = Path(resolve_path(table.spec))
    return (str(path if path.is_dir() else path.parent),) if path.exists() else ()


class _Collected:
    def __init__(self, table: Table, roots: ImageRoots) -> None:
        self.table, self.roots = table, roots
        self.rows = 0
        self.problems = Problems()
        self.columns: tuple[str, ...] = ()
        self.words: dict[str, list[int]] = {"chosen": [], "rejected": []}
        self.similarities: list[float] = []
        self.differing: list[float] = []
        self.images: Counter[int] = Counter()
        self.methods: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.seen: dict[bytes, int] = {}
        self.repeats, self.near = Repeats(), NearDuplicates()

    def add(self, number: int, row: Mapping[str, Any]) -> Sample:
        found: list[str] = []

        def problem(kind: str, column: str, detail: str) -> None:
            found.append(f"{kind} ({column}): {detail}")
            self.problems.add(kind, number, column, detail)

        self._check_columns(number, row, problem)
        self.rows += 1
        texts = {name: _text(row, name, problem) for name in TEXTS}
        images = self._read_images(row, problem)
        chosen, rejected = texts["chosen"], texts["rejected"]
        if chosen.strip() and rejected.strip():
            if chosen.strip() == rejected.strip():
                problem("equal-answers", "rejected", "the text of chosen")
            self.words["chosen"].append(len(words(chosen)))
            self.words["rejected"].append(len(words(rejected)))
            self.differing.append(differing_share(chosen, rejected))
            earlier = self.seen.setdefault(_digest(texts, images), number)
            if earlier != number:
                problem("duplicate", "row", f"same as row {earlier}")
            self.repeats.add(chosen, rejected)
            self.near.add(number, list(texts.values()), images)
        similarity = row.get("similarity")
        similarity = float(similarity) if isinstance(similarity, int | float) else None
        if similarity is not None:
            self.similarities.append(similarity)
        method = str(row.get("method") or "unknown")
        self.methods[method] += 1
        source = str(row.get("source") or str(row.get("source_id") or "unknown").rpartition("/")[0] or "unknown")
        self.sources[source] += 1
        return Sample(number, images, texts["prompt"], chosen, rejected, method, source, similarity,
                      differing_share(chosen, rejected), tuple(found))  # fmt: skip

    def _check_columns(self, number: int, row: Mapping[str, Any], problem: Any) -> None:
        columns = tuple(sorted(row))
        if number == 0:
            self.columns = columns
            if "chosen" not in row and "rejected" not in row:
                raise InputError(
                    f"{self.table.spec} ({self.table.split}) is no preference data: it has the columns "
                    f"{', '.join(columns) or 'none'}.", "It needs prompt, chosen, rejected and images.",
                )  # fmt: skip
        for name in sorted({*columns} ^ {*self.columns}):
            problem("columns", name, "not in the first row" if name in row else "missing here")

    def _read_images(self, row: Mapping[str, Any], problem: Any) -> tuple[ImageData, ...]:
        column = "images" if "images" in row else "image"
        cells, usable = image_cells(row), []
        self.images[len(cells)] += 1
        if not cells:
            problem("no-image", column, "no image in this row")
        for cell in cells:
            try:
                image = read_image(cell, self.roots)
                decode(image)
                usable.append(image)
            except ImageError as error:
                problem("bad-image", column, str(error))
        return tuple(usable)

    def report(self) -> dict[str, Any]:
        chosen, rejected = self.words["chosen"], self.words["rejected"]
        bias = length_bias(chosen, rejected)
        return {
            "dataset": self.table.facts(),
            "rows": self.rows,
            "columns": list(self.columns),
            "problems": self.problems.as_plain(),
            "words": {"chosen": spread(chosen), "rejected": spread(rejected)},
            "length_bias": bias,
            "warnings": length_warnings(bias),
            "similarity": {
                "measured": len(self.similarities),
                "edges": EDGES,
                "counts": histogram(self.similarities),
                **spread(self.similarities),
            },
            "differing_words": spread(self.differing),
            "images_per_row": {str(count): rows for count, rows in sorted(self.images.items())},
            "methods": dict(sorted(self.methods.items())),
            "sources": dict(self.sources.most_common()),
            "near_duplicates": self.near.found,
            "repeats": self.repeats.report(),
        }


def _text(row: Mapping[str, Any], name: str, problem: Any) -> str:
    """The text of a column in any of TRL's forms; the placeholders of images are not text."""
    if name not in row:
        problem("missing", name, "no such column")
        return ""
    value = row[name]
    turns = [value] if isinstance(value, str) else value
    if not isinstance(turns, list):
        problem("malformed", name, f"{type(value).__name__} instead of messages")
        return ""
    parts: list[str] = []
    for turn in turns:
        content = turn.get("content") if isinstance(turn, Mapping) else turn
        blocks = content if isinstance(content, list) else [content]
        for block in blocks:
            text = block.get("text") if isinstance(block, Mapping) else block
            if isinstance(text, str):
                parts.append(text)
            elif not (isinstance(block, Mapping) and block.get("type") == "image"):
                problem("malformed", name, f"a message content of type {type(content).__name__}")
                return ""
    joined = "\n".join(parts)
    if not joined.strip():
        problem("empty", name, "no text")
    return joined


def _digest(texts: Mapping[str, str], images: Sequence[ImageData]) -> bytes:
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for image in images:
        digest.update(hashlib.sha256(image.content).digest())
    return digest.digest()
