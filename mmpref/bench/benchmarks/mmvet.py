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
from dataclasses import dataclass

from mmpref.bench.benchmark import Benchmark, Metric, QuestionSettings, QuestionTask, Sample, Score
from mmpref.bench.cells import column_of, image_cell, text_cell
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.bench.scoring import judge_prompts, ratings
from mmpref.judges.annotator import fill_template
from mmpref.judges.chat import Query
from mmpref.run.results import ALL
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message


@dataclass(frozen=True)
class MmVetSettings(QuestionSettings):
    """How questions are asked.

    Args:
        prefix: put before every question; none as published, lmms-eval asks for steps.
    """

    prefix: str = ""
    max_new_tokens: int = 1024


def _in_a_cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


class _MmVet(QuestionTask[MmVetSettings]):
    system, order = "", "single"
    instruction = judge_prompts.MM_VET

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            abilities = sorted(
                filter(None, (ability.strip() for ability in text_cell(row, "capability", where).split(",")))
            )
            question = text_cell(row, "question", where)
            reference = {
                "question": question,
                "answer": text_cell(row, "answer", where),
                "parts": [ALL, *abilities, f"{'+'.join(abilities)} only"],
            }
            message = Message("user", self.settings.prefix + question)
            image = image_cell(row, where, table.images, column_of(row, "image", "imagename"), self.settings.images)
            samples.append(Sample(str(number), str(number), image, (message,), reference))
        return samples

    def query(self, sample: Sample, answer: str, instruction: str) -> Query:
        truth = sample.reference["answer"].replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        question, truth, answer = map(_in_a_cell, (sample.reference["question"], truth, answer))
        return Query((Message("user", fill_template(instruction, question=question, reference=truth, answer=answer)),))

    def score(self, sample: Sample, answer: str) -> Score:
        return self._score(sample, 0.0)

    def read(self, sample: Sample, answer: str, reply: str) -> Score | None:
        correctness = ratings.correctness(reply)
        return None if correctness is None else self._score(sample, correctness)

    def _score(self, sample: Sample, correctness: float) -> Score:
        counts = part_counts({"score": correctness, "n": 1.0}, *sample.reference["parts"])
        return Score(f"{correctness:g}", counts)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        parts = sorted(parts_of(scores), key=lambda part: (part.endswith(" only"), part))
        return [part_rate("score", part, "score", scale=100, headline=part == ALL) for part in [ALL, *parts]]


BENCHMARK = Benchmark(MmVetSettings, ("lmms-lab-encoder/MMVet", "lmms-lab/MMVet"), _MmVet, judged=True)
