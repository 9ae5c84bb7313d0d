"""MMStar: questions with four options that cannot be answered without the image (arXiv 2403.20330).

A row of ``Lin-Chen/MMStar``, split ``val``, 1,500 rows::

    {"index": 0, "question": "Which option describe the object relationship in the image correctly?\\nOptions: A: The
     suitcase is on the book., B: ...", "image": <image>, "answer": "A", "category": "coarse perception",
     "l2_category": "image scene and topic", "meta_info": {...}}

Official scorer: MMStar-Benchmark/MMStar `eval/vlmeval/evaluate/mmstar.py`. It also takes an answer's first letter for a
choice ("A dog"), so ``accuracy_strict`` stands beside it. The six categories have 250 rows each: the published average
is the accuracy of all. ``--blind no-image`` gives what it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import Benchmark, Metric, QuestionSettings, QuestionTask, Sample, Score
from mmpref.bench.cells import choice_cell, image_cell, text_cell, with_suffix
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.bench.scoring import mmstar
from mmpref.run.results import ALL
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message


@dataclass(frozen=True)
class MmStarSettings(QuestionSettings):
    """How questions are asked.

    Args:
        suffix: appended to every question, as published.
    """

    split: str = "val"
    suffix: str = "\nAnswer with the option's letter from the given choices directly"
    max_new_tokens: int = 16


class _MmStar(QuestionTask[MmStarSettings]):
    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            reference = {
                "answer": choice_cell(row, "answer", where, ("a", "b", "c", "d")).upper(),
                "category": text_cell(row, "category", where),
            }
            message = Message("user", with_suffix(text_cell(row, "question", where).strip(), self.settings.suffix))
            image = image_cell(row, where, table.images, folder=self.settings.images)
            samples.append(Sample(str(number), str(number), image, (message,), reference))
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        truth, letter = sample.reference["answer"], mmstar.letter(answer)
        counts = {"right": float(mmstar.right(answer, truth)), "strict": float(letter == truth), "n": 1.0}
        return Score(letter, part_counts(counts, sample.reference["category"], ALL), parse_failure=not letter)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            metric
            for part in [ALL, *parts_of(scores)]
            for metric in (
                part_rate("accuracy", part, "right", binary=True, headline=part == ALL),
                part_rate("accuracy_strict", part, "strict", binary=True),
            )
        ]


BENCHMARK = Benchmark(MmStarSettings, ("Lin-Chen/MMStar",), _MmStar)
