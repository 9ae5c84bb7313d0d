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
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import PLACE, Benchmark, Metric, Sample, Score, rate, ratio
from mmpref.bench.groups import group_rate
from mmpref.bench.scoring import mme
from mmpref.tables.cells import one_of, text
from mmpref.tables.image_cells import image_of
from mmpref.tables.table import Table, numbered
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums

_ASKED = " Please answer yes or no."


@dataclass(frozen=True)
class MmeSettings:
    """Args:
    data, config, split: where the rows are; by default the Hub's.
    suffix: in place of MME's own " Please answer yes or no." (LLaVA's wording); null leaves questions as they are.
    max_new_tokens: of an answer.
    images: folder of the images that rows name, where it is not the rows' own.
    """

    data: str | None = None
    config: str | None = None
    split: str = "test"
    suffix: str | None = "\nAnswer the question using a single word or phrase."
    max_new_tokens: int = 16
    images: str | None = field(default=None, metadata=PLACE)


def _score(categories: Sequence[str], sums: Sums) -> np.ndarray:
    """The sum over categories of 100 (accuracy + accuracy+)."""
    import numpy as np

    parts = [
        100
        * (ratio(sums[f"{name}/right"], sums[f"{name}/n"]) + ratio(sums[f"{name}/both/right"], sums[f"{name}/both/n"]))
        for name in categories
    ]
    total: np.ndarray = np.sum(parts, axis=0)
    return total


class _Mme:
    def __init__(self, settings: MmeSettings) -> None:
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered(table, limit):
            category, name = text(row, "category", where), text(row, "question_id", where)
            question = text(row, "question", where).strip()
            if self.settings.suffix is not None:
                question = question.replace(_ASKED, "") + self.settings.suffix
            reference = {"answer": one_of(row, "answer", where, ("yes", "no")), "category": category}
            key = f"{category}/{name}"
            image = image_of(row, where, table.root, folder=self.settings.images)
            samples.append(
                Sample(str(number), key, image, (Message("user", question),), reference, {f"{category}/both": key})
            )
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        said, category = mme.parse(answer), sample.reference["category"]
        right = said == sample.reference["answer"]
        counts = {
            f"{name}/{key}": value
            for name in (category, "all")
            for key, value in {"right": float(right), "n": 1.0, "yes": float(said == "yes")}.items()
        }
        return Score(said, counts, said == "other", right)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        found = {name.partition("/")[0] for score in scores for name in score.counts if name.endswith("/both/n")}
        known = [name for name in (*mme.PERCEPTION, *mme.COGNITION) if name in found]
        categories = [*known, *sorted(found.difference(known))]
        metrics = [
            rate("accuracy", "all", "all/right", "all/n", binary=True, headline=True),
            rate("yes_ratio", "all", "all/yes", "all/n", None),
        ]
        for name in categories:
            metrics += [
                rate("accuracy", name, f"{name}/right", f"{name}/n", binary=True),
                group_rate("accuracy_plus", name, f"{name}/both"),
                Metric("score", name, partial(_score, (name,)), f"{name}/n"),
            ]
        for part, names in (("perception", mme.PERCEPTION), ("cognition", mme.COGNITION)):
            if found.issuperset(names):
                metrics.append(Metric("score", part, partial(_score, names), "all/n"))
        return metrics


BENCHMARK = Benchmark(MmeSettings, ("lmms-lab-encoder/MME", "lmms-lab/MME"), _Mme)
