"""NaturalBench: two questions about two images, whose answers swap with the image (arXiv 2410.14669).

A row of ``BaiqiL/NaturalBench``, split ``train``, 1,900 rows; each is asked four times::

    {"Index": 0, "Image_0": <image>, "Image_1": <image>, "Question_0": "Is the sky blue?", "Question_1": "Is it grey?",
     "Image_0_Question_0": "Yes", "Image_1_Question_0": "No", "Image_0_Question_1": "No", "Image_1_Question_1": "Yes",
     "Question_Type": "yes_no", "Source": "..."}

Official scorer: Baiqi-Li/NaturalBench `naturalbench_vqa.py` (commit 9967605). It reads the first of the words yes and
no (or A and B, where ``Question_Type`` is ``multiple_choice``), and takes yes and A for true of question 0 about
image 0 and of question 1 about image 1, no and B of the other two. ``acc`` is over answers, ``q_acc`` over questions
(right about both images), ``i_acc`` over images (right in both questions) and ``g_acc`` over rows (all four).
Intervals resample rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import Benchmark, CountKey, Metric, Sample, Score
from mmpref.bench.cells import choice_cell, image_cell, text_cell
from mmpref.bench.parts import group_rate, part_counts, part_rate
from mmpref.bench.yes_no_words import YesNoSettings, YesNoTask
from mmpref.run.results import ALL
from mmpref.tables.table import Row, Table, numbered_rows
from mmpref.types import Message

_WORDS = {"yes_no": ("yes", "no"), "multiple_choice": ("A", "B")}
"""By the question's type: what says true, and what says false."""


@dataclass(frozen=True)
class NaturalBenchSettings(YesNoSettings):
    """How questions are asked.

    Args:
        yes_no: put behind questions of that type as it is, without a space, as published.
        multiple_choice: the same of those with two options.
    """

    split: str = "train"
    yes_no: str = "Please answer Yes or No."
    multiple_choice: str = "Please output the letter corresponding to the correct option."


def says_true(answer: str, kind: str) -> bool | None:
    """Whether the answer says true; None where it says nothing. Of both words the first counts."""
    said = [re.search(rf"\b{word}\b", answer, re.IGNORECASE) for word in _WORDS[kind]]
    true, false = (match.start() if match else None for match in said)
    if true is None or false is None:
        return None if true is false else false is None
    return true < false


class _NaturalBench(YesNoTask[NaturalBenchSettings]):
    name = "naturalbench"

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        return [
            sample
            for number, row, where in numbered_rows(table, limit)
            for sample in self._samples(row, where, table, str(number))
        ]

    def _samples(self, row: Row, where: str, table: Table, name: str) -> list[Sample]:
        kind = choice_cell(row, "Question_Type", where, tuple(_WORDS))
        suffix = self.settings.yes_no if kind == "yes_no" else self.settings.multiple_choice
        questions = [text_cell(row, f"Question_{number}", where) + suffix for number in range(2)]
        images = [image_cell(row, where, table.images, f"Image_{number}", self.settings.images) for number in range(2)]
        return [
            Sample(
                f"{name}-q{question}-i{image}",
                name,
                images[image],
                (Message("user", questions[question]),),
                {"true": question == image, "kind": kind},
                {
                    CountKey(ALL, "question"): f"{name}-{question}",
                    CountKey(ALL, "image"): f"{name}-{image}",
                    CountKey(ALL, "row"): name,
                },
            )
            for question in range(2)
            for image in range(2)
        ]

    def score(self, sample: Sample, answer: str) -> Score:
        kind = sample.reference["kind"]
        said = says_true(self.in_english(answer) if kind == "yes_no" else answer, kind)
        right = said is sample.reference["true"]
        parsed = "" if said is None else _WORDS[kind][0 if said else 1]
        return Score(parsed, part_counts({"right": float(right), "n": 1.0}, ALL), said is None, right)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            part_rate("acc", ALL, "right", binary=True),
            group_rate("q_acc", ALL, CountKey(ALL, "question")),
            group_rate("i_acc", ALL, CountKey(ALL, "image")),
            group_rate("g_acc", ALL, CountKey(ALL, "row"), headline=True),
        ]


BENCHMARK = Benchmark(NaturalBenchSettings, ("BaiqiL/NaturalBench",), _NaturalBench, unit="rows of two images")
