"""POPE: yes/no questions about objects that are, or are not, in the image (arXiv 2305.10355).

A row of ``lmms-lab-encoder/POPE`` (formerly ``lmms-lab/POPE``), split ``test``, 9,000 rows::

    {"id": "0", "question_id": "1", "question": "Is there a snowboard in the image?", "answer": "yes",
     "image_source": "COCO_val2014_000000310196", "image": <image>, "category": "adversarial"}

Official scorer: https://github.com/RUCAIBox/POPE (`evaluate.py`). The three categories share their yes rows, so their
errors are not independent; LLaVA's papers print the mean of the three F1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import Benchmark, Metric, Sample, Score, rate
from mmpref.bench.rows import cell, image_of, numbered, one_of
from mmpref.bench.scoring import pope
from mmpref.bench.stats import ratio
from mmpref.tables import Table
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
    """

    data: str | None = None
    config: str | None = None
    split: str = "test"
    suffix: str = "\nAnswer the question using a single word or phrase."
    max_new_tokens: int = 128


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


_RATES: dict[str, Callable[[str, Sums], np.ndarray]] = {
    "precision": _precision, "recall": _recall, "f1": _f1, "yes_ratio": _yes_ratio,
}  # fmt: skip


class PopeTask:
    """POPE with its settings applied."""

    def __init__(self, settings: PopeSettings) -> None:
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered(table, limit):
            answer = one_of(row, "answer", where, ("yes", "no"))
            question = str(cell(row, "question", where)) + self.settings.suffix
            image_id = str(row.get("image_source") or number)
            samples.append(Sample(str(number), image_id, image_of(row, where, table.root), (Message("user", question),),
                                  {"answer": answer, "part": str(row.get("category") or "all")}))  # fmt: skip
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


BENCHMARK = Benchmark(PopeSettings, ("lmms-lab-encoder/POPE", "lmms-lab/POPE"), PopeTask)
