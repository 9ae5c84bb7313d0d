"""DASH-B: is the object there? Images that make models see objects which are not there (arXiv 2503.23573).

A row of ``YanNeu/DASH-B``, split ``test``, 2,682 rows about 70 objects, half of them without the object::

    {"question_id": 0, "img_id": "2327067188", "image": <image>, "object": "backpack", "answer": "no",
     "question": "Can you see a backpack in this image? Please answer only with yes or no."}

Official scorer: YanNeu/DASH-B `src/eval_utils.py` (commit 1538d01): yes where the answer in lower case contains "yes",
else no where it contains "no" ("know" too), else neither, which is wrong. ``tnr`` and ``tpr`` are the shares of right
answers where the object is absent and where it is present.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import Benchmark, Metric, Sample, Score, rate, ratio
from mmpref.bench.cells import image_cell, image_key, optional_text, text_cell, with_suffix
from mmpref.bench.yes_no_words import YesNoSettings, YesNoTask
from mmpref.run.results import ALL
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums


@dataclass(frozen=True)
class DashSettings(YesNoSettings):
    """How questions are asked.

    Args:
        suffix: appended to every question; none as published.
    """

    suffix: str = ""
    max_new_tokens: int = 16


def parse(answer: str) -> str:
    """``yes``, ``no``, or nothing where the answer has neither."""
    low = answer.lower()
    return "yes" if "yes" in low else "no" if "no" in low else ""


def _harmonic_mean(sums: Sums) -> np.ndarray:
    positive, negative = ratio(sums["right_yes"], sums["yes"]), ratio(sums["right_no"], sums["no"])
    return ratio(2 * positive * negative, positive + negative, 0.0)


class _Dash(YesNoTask[DashSettings]):
    name = "dash-b"

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            message = Message("user", with_suffix(text_cell(row, "question", where), self.settings.suffix))
            image = image_cell(row, where, table.images, folder=self.settings.images)
            reference = {
                "answer": self.truth(row, "answer", where),
                "object": text_cell(row, "object", where),
            }
            image_id = optional_text(row, "img_id") or image_key(image, number)
            samples.append(Sample(str(number), image_id, image, (message,), reference))
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        truth, parsed = sample.reference["answer"], parse(self.in_english(answer))
        right = float(parsed == truth)
        counts = {"right": right, "n": 1.0}
        for name in ("yes", "no"):
            counts |= {f"right_{name}": right * (truth == name), name: float(truth == name)}
        return Score(parsed, counts, parse_failure=not parsed)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            rate("accuracy", ALL, "right", "n", binary=True, headline=True),
            rate("tnr", ALL, "right_no", "no"),
            rate("tpr", ALL, "right_yes", "yes"),
            Metric("harmonic_mean", ALL, _harmonic_mean, "n"),
        ]


BENCHMARK = Benchmark(DashSettings, ("YanNeu/DASH-B",), _Dash, hallucination=True)
