"""MMVP: 150 pairs of images that CLIP takes for one another; a pair is right where both answers are (arXiv 2401.06209).

A row of ``lmms-lab-eval/MMVP``, split ``train``, 300 rows, two after another a pair; four of its labels are corrected::

    {"Index": 1, "Question": "Are the butterfly's wings closer to being open or closed?",
     "Options": "(a) Open (b) Closed", "Correct Answer": "(a)", "image": <image>}

The authors' own ``Questions.csv`` has no image column: the image of its n-th row is ``n.jpg`` of ``MMVP Images``
(``--set benchmark.mmvp.images=FOLDER``). Official scorer: tsb0601/MMVP `scripts/gpt_grader.py` (commit 7635005), where
GPT-4 reads the answers; the pair accuracy is its number. Here letters are read, as in lmms-eval `tasks/mmvp/utils.py`
(commit 75571cf, MIT), of which the prompt is too, so the metrics are called ``_letter``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import Benchmark, CountKey, Metric, QuestionSettings, QuestionTask, Sample, Score
from mmpref.bench.cells import choice_cell, column_of, image_cell, text_cell
from mmpref.bench.parts import group_rate, part_counts, part_rate
from mmpref.run.results import ALL
from mmpref.tables.cells import image_cells
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message

_OPTION = re.compile(r"\([a-z]\)\s*([^(]+?)(?=\s*\([a-z]\)|$)", re.IGNORECASE)
_LETTER = (
    re.compile(r"^\s*\(?([AB])\)?\.?\s*$", re.IGNORECASE),
    re.compile(r"^\s*\(?([AB])\)?[\.\s]", re.IGNORECASE),
    re.compile(r"answer\s+is\s+\(?([AB])\)?", re.IGNORECASE),
    re.compile(r"option\s+\(?([AB])\)?", re.IGNORECASE),
    re.compile(r"\(?([AB])\)?(?:\s|$)", re.IGNORECASE),
)
"""Where a letter is looked for, one after another. The last takes the end of any word that ends in a or b."""


@dataclass(frozen=True)
class MmvpSettings(QuestionSettings):
    """How questions are asked.

    Args:
        suffix: put behind the options, as in lmms-eval.
    """

    split: str = "train"
    suffix: str = "\nAnswer with the option's letter from the given choices directly."
    max_new_tokens: int = 16


def letter(answer: str) -> str:
    """``A``, ``B``, or nothing: the letter that an answer names, else the one that it begins with."""
    text = answer.strip()
    for pattern in _LETTER:
        if match := pattern.search(text):
            return match[1].upper()
    return text[:1].upper() if text[:1].upper() in ("A", "B") else ""


class _Mmvp(QuestionTask[MmvpSettings]):
    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        whole = None if limit is None else limit + limit % 2  # rows: of half a pair nothing can be said
        for number, row, where in numbered_rows(table, whole):
            if not image_cells(row):
                row = {**row, "image": f"{number + 1}.jpg"}
            question = text_cell(row, column_of(row, "question", "Question"), where)
            options = _OPTION.findall(text_cell(row, column_of(row, "options", "Options"), where))
            lines = [question, *(f"{chr(ord('A') + place)}. {option.strip()}" for place, option in enumerate(options))]
            reference = choice_cell(row, column_of(row, "answer", "Correct Answer"), where, ("a", "b")).upper()
            image = image_cell(row, where, table.images, folder=self.settings.images)
            message = Message("user", "\n".join(lines) + self.settings.suffix)
            pair = str(number // 2)
            groups = {CountKey(ALL, "pair"): pair}
            samples.append(Sample(str(number), pair, image, (message,), {"answer": reference}, groups))
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        said = letter(answer)
        right = said == sample.reference["answer"]
        return Score(said, part_counts({"right": float(right), "n": 1.0}, ALL), not said, right)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            group_rate("pair_accuracy_letter", ALL, CountKey(ALL, "pair"), headline=True),
            part_rate("accuracy_letter", ALL, "right", binary=True),
        ]


BENCHMARK = Benchmark(MmvpSettings, ("lmms-lab-eval/MMVP",), _Mmvp, unit="pairs of images")
