"""MM-Vet: open questions that take several abilities together, their correctness judged 0 to 1 (arXiv 2308.02490).

A row of ``lmms-lab-encoder/MMVet`` (formerly ``lmms-lab/MMVet``; the original is ``whyu/mm-vet``, cc-by-nc-4.0), split
``test``, 218 rows::

    {"question_id": "v1_0", "question": "What is x in the equation?", "answer": "-1<AND>-5", "image": <image>,
     "image_source": "...", "capability": "ocr,math"}

Official scorer: yuweihao/MM-Vet `mm-vet_evaluator.py`. ``score`` is 100 x the mean, of all and of the questions that
take an ability, among others or (``math+ocr only``) with just those. The question is asked as it is, as by LLaVA. Bars
and line breaks of a prediction, which would break the judge's table, are replaced; the original leaves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import PLACE, Benchmark, Metric, Sample, Score, ratio
from mmpref.bench.scoring import judge_prompts, ratings
from mmpref.judges.annotator import filled
from mmpref.judges.chat import Query
from mmpref.tables.cells import column_of, text
from mmpref.tables.image_cells import image_of
from mmpref.tables.table import Table, numbered
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums


@dataclass(frozen=True)
class MmVetSettings:
    """Args:
    data, config, split: where the rows are; by default the Hub's.
    prefix: put before every question; none as published, lmms-eval asks for steps.
    max_new_tokens: of an answer.
    images: folder of the images that rows name, where it is not the rows' own.
    """

    data: str | None = None
    config: str | None = None
    split: str = "test"
    prefix: str = ""
    max_new_tokens: int = 1024
    images: str | None = field(default=None, metadata=PLACE)


def _percent(part: str, sums: Sums) -> np.ndarray:
    score: np.ndarray = 100 * ratio(sums[f"{part}/score"], sums[f"{part}/n"])
    return score


def _in_a_cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


class _MmVet:
    system, order = "", "single"
    instruction = judge_prompts.MM_VET

    def __init__(self, settings: MmVetSettings) -> None:
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered(table, limit):
            abilities = sorted(filter(None, (one.strip() for one in text(row, "capability", where).split(","))))
            question = text(row, "question", where)
            reference = {
                "question": question,
                "answer": text(row, "answer", where),
                "parts": ["all", *abilities, f"{'+'.join(abilities)} only"],
            }
            message = Message("user", self.settings.prefix + question)
            image = image_of(row, where, table.root, column_of(row, "image", "imagename"), self.settings.images)
            samples.append(Sample(str(number), str(number), image, (message,), reference))
        return samples

    def query(self, sample: Sample, answer: str, instruction: str) -> Query:
        truth = sample.reference["answer"].replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        question, truth, answer = map(_in_a_cell, (sample.reference["question"], truth, answer))
        return Query((Message("user", filled(instruction, question=question, reference=truth, answer=answer)),))

    def score(self, sample: Sample, answer: str) -> Score:
        return self._score(sample, 0.0)

    def read(self, sample: Sample, answer: str, reply: str) -> Score | None:
        found = ratings.correctness(reply)
        return None if found is None else self._score(sample, found)

    def _score(self, sample: Sample, found: float) -> Score:
        named = {
            f"{part}/{key}": value
            for part in sample.reference["parts"]
            for key, value in {"score": found, "n": 1.0}.items()
        }
        return Score(f"{found:g}", named)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        parts = sorted(
            {name.partition("/")[0] for score in scores for name in score.counts} - {"all"},
            key=lambda part: (part.endswith(" only"), part),
        )
        return [
            Metric(
                "score",
                part,
                partial(_percent, part),
                f"{part}/n",
                of=(f"{part}/score", f"{part}/n"),
                headline=part == "all",
            )
            for part in ["all", *parts]
        ]


BENCHMARK = Benchmark(MmVetSettings, ("lmms-lab-encoder/MMVet", "lmms-lab/MMVet"), _MmVet, judged=True)
