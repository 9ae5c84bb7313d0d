"""TextVQA: questions about text in images, by VQA accuracy (arXiv 1904.08920).

A row of ``lmms-lab-encoder/textvqa`` (formerly ``lmms-lab/textvqa``), split ``validation``, 5,000 rows::

    {"image_id": "003a8ae2ef43b901", "question_id": 34602, "question": "what is the brand of this camera?",
     "answers": ["nous les gosses", "dakota", "clos culombu", "dakota digital", "dakota", ...], "image": <image>,
     "ocr_tokens": ["ROLEI", "DAKOTA", "DIGITAL", "SINGLE-USE"]}

Official scorer: facebookresearch/mmf `pythia/tasks/processors.py`, LLaVA's `m4c_evaluator.py` is the same. Prompt as in
lmms-eval's `textvqa_val.yaml` (MIT) and LLaVA's questions: no OCR tokens here, with them in `textvqa-ocr`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import Benchmark, Metric, QuestionSettings, QuestionTask, Sample, Score, rate
from mmpref.bench.cells import image_cell, image_id, list_cell, optional_text, text_cell, with_suffix
from mmpref.bench.scoring import vqa
from mmpref.errors import InputError
from mmpref.run.results import ALL
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message


@dataclass(frozen=True)
class TextVqaSettings(QuestionSettings):
    """How questions are asked.

    Args:
        ocr: written behind the question, with ``{tokens}`` the image's OCR tokens; empty for none.
        capitalise: as lmms-eval does, which makes all but the question's first letter small.
        suffix: appended to every question (LLaVA's wording).
    """

    split: str = "validation"
    ocr: str = ""
    capitalise: bool = True
    suffix: str = "\nAnswer the question using a single word or phrase."


class TextVqaTask(QuestionTask[TextVqaSettings]):
    """TextVQA with its settings applied."""

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            question = text_cell(row, "question", where)
            answers = list_cell(row, "answers", where)
            if len(answers) != vqa.ANSWERS:
                raise InputError(
                    f"{where}, column answers has {len(answers)} entries; VQA accuracy needs {vqa.ANSWERS}.",
                    "The test split has no answers: use validation.",
                )
            prompt = question.capitalize() if self.settings.capitalise else question
            if self.settings.ocr:
                tokens = ", ".join(list_cell(row, "ocr_tokens", where))
                prompt += self.settings.ocr.replace("{tokens}", tokens)
            message = Message("user", with_suffix(prompt, self.settings.suffix))
            image = image_cell(row, where, table.images, folder=self.settings.images)
            name = optional_text(row, "image_id") or image_id(row, image, number)
            samples.append(Sample(str(number), name, image, (message,), answers))
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        counts = {"accuracy": vqa.accuracy(answer, sample.reference), "n": 1.0}
        return Score(vqa.normalise(answer), counts, parse_failure=not answer.strip())

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [rate("vqa_accuracy", ALL, "accuracy", "n", headline=True)]


BENCHMARK = Benchmark(TextVqaSettings, ("lmms-lab-encoder/textvqa", "lmms-lab/textvqa"), TextVqaTask)
