"""POPE: yes/no questions about objects that are, or are not, in the image (arXiv 2305.10355).

A row of ``lmms-lab-encoder/POPE`` (formerly ``lmms-lab/POPE``), split ``test``, 9,000 rows::

    {"id": "0", "question_id": "1", "question": "Is there a snowboard in the image?", "answer": "yes",
     "image_source": "COCO_val2014_000000310196", "image": <image>, "category": "adversarial"}

or one of the authors' ``output/coco/coco_pope_{random,popular,adversarial}.json``, whose folder will do as ``data``
too, with COCO's val2014 as ``--set benchmark.pope.images=FOLDER``::

    {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a snowboard in the image?",
     "label": "yes"}

Official scorer: https://github.com/RUCAIBox/POPE (`evaluate.py`). The three categories share their yes rows, so their
errors are not independent; LLaVA's papers print the mean of the three F1.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import PLACE, Benchmark, Metric, Sample, Score, rate, ratio
from mmpref.bench.scoring import pope
from mmpref.errors import InputError
from mmpref.registry import resolve_path
from mmpref.tables.cells import column_of, one_of, optional, text
from mmpref.tables.image_cells import image_name, image_of
from mmpref.tables.open import open_table
from mmpref.tables.table import Row, Table, numbered
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums


@dataclass(frozen=True)
class PopeSettings:
    """Args:
    data, config, split: where the rows are; by default the Hub's.
    suffix: appended to every question (LLaVA's wording).
    max_new_tokens: of an answer.
    images: folder of the images that rows name, where it is not the rows' own.
    """

    data: str | None = None
    config: str | None = None
    split: str = "test"
    suffix: str = "\nAnswer the question using a single word or phrase."
    max_new_tokens: int = 128
    images: str | None = field(default=None, metadata=PLACE)


def _precision(part: str, sums: Sums) -> np.ndarray:
    return ratio(sums[f"{part}/tp"], sums[f"{part}/tp"] + sums[f"{part}/fp"])


def _recall(part: str, sums: Sums) -> np.ndarray:
    return ratio(sums[f"{part}/tp"], sums[f"{part}/tp"] + sums[f"{part}/fn"])


def _f1(part: str, sums: Sums) -> np.ndarray:
    return ratio(2 * sums[f"{part}/tp"], 2 * sums[f"{part}/tp"] + sums[f"{part}/fp"] + sums[f"{part}/fn"])


def _yes_ratio(part: str, sums: Sums) -> np.ndarray:
    return ratio(sums[f"{part}/tp"] + sums[f"{part}/fp"], sums[f"{part}/n"])


def _mean_f1(parts: Sequence[str], sums: Sums) -> np.ndarray:
    import numpy as np

    mean: np.ndarray = np.mean([_f1(part, sums) for part in parts], axis=0)
    return mean


_FILE = re.compile(r"pope_(random|popular|adversarial)\.jsonl?$")
_RATES: dict[str, Callable[[str, Sums], np.ndarray]] = {
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "yes_ratio": _yes_ratio,
}


def _category(name: str) -> str | None:
    """What the authors' files are called by."""
    found = _FILE.search(Path(name).name)
    return found[1] if found else None


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
    known = "".join(f"{category} {table.fingerprint}\n" for category, table in tables)
    digest = hashlib.sha256(known.encode()).hexdigest()

    def rows() -> Iterator[Row]:
        return ({"category": category, **row} for category, table in tables for row in table)

    return Table(str(settings.data), settings.split, None, f"sha256:{digest}", None, rows, folder)


class PopeTask:
    """POPE with its settings applied."""

    def __init__(self, settings: PopeSettings) -> None:
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered(table, limit):
            answer = one_of(row, column_of(row, "answer", "label"), where, ("yes", "no"))
            question = text(row, column_of(row, "question", "text"), where) + self.settings.suffix
            image_id = optional(row, "image_source") or image_name(row) or str(number)
            image = image_of(row, where, table.root, folder=self.settings.images)
            part = optional(row, "category") or _category(table.spec) or "all"
            samples.append(
                Sample(str(number), image_id, image, (Message("user", question),), {"answer": answer, "part": part})
            )
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        counts = pope.count(answer, sample.reference["answer"])
        counts["right"] = counts["tp"] + counts["tn"]
        part = sample.reference["part"]
        named = {f"{name}/{key}": value for name in {part, "all"} for key, value in counts.items()}
        return Score(pope.parse(answer), named, pope.unreadable(answer))

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        parts = sorted({name.partition("/")[0] for score in scores for name in score.counts} - {"all"})
        metrics = []
        for part in [*parts, "all"]:
            metrics.append(rate("accuracy", part, f"{part}/right", f"{part}/n", binary=True, headline=part == "all"))
            metrics += [
                Metric(name, part, partial(value, part), f"{part}/n", None if name == "yes_ratio" else True)
                for name, value in _RATES.items()
            ]
        if len(parts) > 1:
            metrics.append(Metric("mean_f1", "all", partial(_mean_f1, parts), "all/n"))
        return metrics


BENCHMARK = Benchmark(PopeSettings, ("lmms-lab-encoder/POPE", "lmms-lab/POPE"), PopeTask, opens=open_folder)
