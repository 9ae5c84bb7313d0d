"""MME: two yes/no questions an image in 14 categories; accuracy, and accuracy+ where both must be right.

A row of ``lmms-lab-encoder/MME`` (formerly ``lmms-lab/MME``), split ``test``, 2,374 rows::

    {"question_id": "code_reasoning/0020.png", "image": <image>, "category": "code_reasoning", "answer": "Yes",
     "question": "Is a python code shown in the picture? Please answer yes or no."}

Official scorer: `eval_tool/calculation.py` of the MME release (arXiv 2306.13394). A category's ``score`` is
100 (accuracy + accuracy+), and ``perception`` and ``cognition`` have the sums over their categories (up to 2,000 and
800), as published. The prompt is LLaVA's and lmms-eval's (MIT): the request for yes or no is replaced by theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import (
    Benchmark,
    CountKey,
    Metric,
    Sample,
    Score,
    ratio,
)
from mmpref.bench.cells import image_cell, text_cell, with_suffix
from mmpref.bench.parts import group_keys, group_rate, part_counts, part_rate, parts_of, whole_groups
from mmpref.bench.scoring import mme
from mmpref.bench.yes_no_words import YesNoSettings, YesNoTask
from mmpref.run.results import ALL
from mmpref.tables.table import Row, Table
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums

_ASKED = " Please answer yes or no."


@dataclass(frozen=True)
class MmeSettings(YesNoSettings):
    """How questions are asked.

    Args:
        suffix: in place of MME's own " Please answer yes or no." (LLaVA's wording); null leaves questions as they are.
    """

    suffix: str | None = "\nAnswer the question using a single word or phrase."
    max_new_tokens: int = 16


def _score(categories: Sequence[str], sums: Sums) -> np.ndarray:
    """The sum over categories of 100 (accuracy + accuracy+)."""
    import numpy as np

    parts = []
    for name in categories:
        right, n = group_keys(CountKey(name, "both"))
        accuracy = ratio(sums[CountKey(name, "right")], sums[CountKey(name, "n")])
        parts.append(100 * (accuracy + ratio(sums[right], sums[n])))
    total: np.ndarray = np.sum(parts, axis=0)
    return total


def _image(row: Row, where: str) -> tuple[str, str]:
    """Category and name of the image that a row's question, and another one, are about."""
    return text_cell(row, "category", where), text_cell(row, "question_id", where)


class _Mme(YesNoTask[MmeSettings]):
    name = "mme"

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in whole_groups(table, limit, _image):
            category, name = _image(row, where)
            question = text_cell(row, "question", where).strip()
            if self.settings.suffix is not None:
                question = with_suffix(question.replace(_ASKED, ""), self.settings.suffix)
            reference = {"answer": self.truth(row, "answer", where), "category": category}
            image_id = f"{category}/{name}"
            group = {CountKey(category, "both"): image_id}
            image = image_cell(row, where, table.images, folder=self.settings.images)
            samples.append(Sample(str(number), image_id, image, (Message("user", question),), reference, group))
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        parsed = mme.parse(self.in_english(answer))
        right = parsed == sample.reference["answer"]
        counts = {"right": float(right), "n": 1.0, "yes": float(parsed == "yes")}
        return Score(parsed, part_counts(counts, sample.reference["category"], ALL), parsed == "other", right)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        keys = {key for score in scores for key in score.counts}
        present = [name for name in parts_of(scores) if keys.issuperset(group_keys(CountKey(name, "both")))]
        official = [name for name in (*mme.PERCEPTION, *mme.COGNITION) if name in present]
        metrics = [
            part_rate("accuracy", ALL, "right", binary=True, headline=True),
            part_rate("yes_ratio", ALL, "yes", "n", None),
        ]
        for name in [*official, *(name for name in present if name not in official)]:
            metrics += [
                part_rate("accuracy", name, "right", binary=True),
                group_rate("accuracy_plus", name, CountKey(name, "both")),
                Metric("score", name, partial(_score, (name,)), CountKey(name, "n")),
            ]
        for part, names in (("perception", mme.PERCEPTION), ("cognition", mme.COGNITION)):
            if set(present).issuperset(names):
                metrics.append(Metric("score", part, partial(_score, names), CountKey(ALL, "n")))
        return metrics


BENCHMARK = Benchmark(MmeSettings, ("lmms-lab-encoder/MME", "lmms-lab/MME"), _Mme)
