"""POPE: yes/no questions about objects that are, or are not, in the image (arXiv 2305.10355).

A row of ``lmms-lab-encoder/POPE`` (formerly ``lmms-lab/POPE``), split ``test``, 9,000 rows::

    {"id": "0", "question_id": "1", "question": "Is there a snowboard in the image?", "answer": "yes",
     "image_source": "COCO_val2014_000000310196", "image": <image>, "category": "adversarial"}

or one of the authors' ``output/coco/coco_pope_{random,popular,adversarial}.json``, whose folder will do as ``data``
too, with COCO's val2014 as ``--set benchmark.pope.images=FOLDER``::

    {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a snowboard in the image?",
     "label": "yes"}

Of one's own data ``image``, ``question`` and ``answer`` suffice.

Official scorer: https://github.com/RUCAIBox/POPE (`evaluate.py`). The three categories share their yes rows, so their
errors are not independent; LLaVA's papers print the mean of the three F1.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import (
    Benchmark,
    CountKey,
    Metric,
    Sample,
    Score,
)
from mmpref.bench.cells import column_of, image_cell, image_id, optional_text, require_columns, text_cell, with_suffix
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.bench.scoring import pope
from mmpref.bench.yes_no_words import YesNoSettings, YesNoTask
from mmpref.errors import InputError
from mmpref.registry import resolve_path
from mmpref.run.results import ALL
from mmpref.tables.open import open_table
from mmpref.tables.table import Row, Table, numbered_rows
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums


_FILE = re.compile(r"pope_(random|popular|adversarial)\.jsonl?$")


@dataclass(frozen=True)
class PopeSettings(YesNoSettings):
    """How questions are asked.

    Args:
        suffix: appended to every question (LLaVA's wording).
    """

    suffix: str = "\nAnswer the question using a single word or phrase."


def _rate(name: str, part: str, sums: Sums) -> np.ndarray:
    """A rate of `mmpref.bench.scoring.pope` in one part."""
    return pope.RATES[name]({count: sums[CountKey(part, count)] for count in pope.COUNTS})


def _mean_f1(parts: Sequence[str], sums: Sums) -> np.ndarray:
    import numpy as np

    mean: np.ndarray = np.mean([_rate("f1", part, sums) for part in parts], axis=0)
    return mean


def _category(name: str) -> str | None:
    """What the authors' files are called by."""
    match = _FILE.search(Path(name).name)
    return match[1] if match else None


def open_folder(settings: PopeSettings) -> Table | None:
    """The rows of the authors' files in a folder, each with its category; None where ``data`` is none such."""
    folder = Path(resolve_path(settings.data)) if settings.data else None
    files = sorted(file for file in folder.iterdir() if _FILE.search(file.name)) if folder and folder.is_dir() else []
    if not files:
        return None
    tables = [(_category(file.name), open_table(str(file), settings.split)) for file in files]
    if len({category for category, _ in tables}) < len(tables):
        names = ", ".join(file.name for file in files)
        raise InputError(f"{settings.data} has several files of one category: {names}.", "Name the file.")
    fingerprints = "".join(f"{category} {table.fingerprint}\n" for category, table in tables)
    digest = hashlib.sha256(fingerprints.encode()).hexdigest()

    def rows() -> Iterator[Row]:
        return ({"category": category, **row} for category, table in tables for row in table)

    return Table(str(settings.data), settings.split, None, f"sha256:{digest}", None, rows, folder)


class PopeTask(YesNoTask[PopeSettings]):
    """POPE with its settings applied."""

    name = "pope"

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            asked, expected = column_of(row, "question", "text"), column_of(row, "answer", "label")
            require_columns(row, where, "image", asked, expected)
            answer = self.truth(row, expected, where)
            question = with_suffix(text_cell(row, asked, where), self.settings.suffix)
            image = image_cell(row, where, table.images, folder=self.settings.images)
            name = optional_text(row, "image_source") or image_id(row, image, number)
            part = optional_text(row, "category") or _category(table.spec) or ALL
            samples.append(
                Sample(str(number), name, image, (Message("user", question),), {"answer": answer, "part": part})
            )
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        answer = self.in_english(answer)
        counts = pope.count(answer, sample.reference["answer"])
        counts["right"] = counts["tp"] + counts["tn"]
        counts_by_part = part_counts(counts, sample.reference["part"], ALL)
        return Score(pope.parse(answer), counts_by_part, pope.unreadable(answer))

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        parts = parts_of(scores)
        metrics = []
        for part in [*parts, ALL]:
            metrics.append(part_rate("accuracy", part, "right", binary=True, headline=part == ALL))
            metrics += [
                Metric(
                    name, part, partial(_rate, name, part), CountKey(part, "n"), None if name == "yes_ratio" else True
                )
                for name in ("precision", "recall", "f1", "yes_ratio")
            ]
        if len(parts) > 1:
            metrics.append(Metric("mean_f1", ALL, partial(_mean_f1, parts), CountKey(ALL, "n")))
        return metrics


BENCHMARK = Benchmark(
    PopeSettings, ("lmms-lab-encoder/POPE", "lmms-lab/POPE"), PopeTask, opens=open_folder, hallucination=True
)
