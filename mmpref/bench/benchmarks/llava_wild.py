"""LLaVA-Bench (In-the-Wild): 60 open questions, judged beside GPT-4's answers from a caption (arXiv 2304.08485).

A row of ``lmms-lab-encoder/llava-bench-in-the-wild`` (formerly ``lmms-lab/...``), split ``train``::

    {"question_id": 0, "question": "What is the name of this famous sight in the photo?", "image": <image>,
     "caption": "An aerial view of Diamond Head ...", "gpt_answer": "The famous sight ...", "category": "conv",
     "image_id": "001.jpg"}

Official scorer: haotian-liu/LLaVA `llava/eval/eval_gpt_review_bench.py` (Apache-2.0). The score is 100 x the sum of
the model's scores over the sum of GPT-4's, which is always shown first, so that a judge's love of a place is part of
it. What cannot be read is missing; the original keeps it in the mean as -1. With gpt-4o as judge numbers are some 10
points below those of gpt-4-0314.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import (
    Benchmark,
    CountKey,
    Metric,
    QuestionSettings,
    QuestionTask,
    Sample,
    Score,
)
from mmpref.bench.cells import column_of, image_cell, image_name, optional_text, text_cell
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.bench.scoring import judge_prompts, ratings
from mmpref.judges.annotator import fill_template
from mmpref.judges.chat import Query
from mmpref.run.results import ALL
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message


@dataclass(frozen=True)
class LlavaWildSettings(QuestionSettings):
    """What every benchmark about images has; long answers."""

    split: str = "train"
    max_new_tokens: int = 1024


class _LlavaWild(QuestionTask[LlavaWildSettings]):
    system, order = judge_prompts.LLAVA_WILD_SYSTEM, "reference-first"
    instruction = judge_prompts.LLAVA_WILD

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            reference = {
                "category": text_cell(row, "category", where),
                "caption": text_cell(row, "caption", where),
                "answer": text_cell(row, "gpt_answer", where),
            }
            message = Message("user", text_cell(row, column_of(row, "question", "text"), where))
            image_id = optional_text(row, "image_id") or image_name(row) or str(number)
            image = image_cell(row, where, table.images, folder=self.settings.images)
            samples.append(Sample(str(number), image_id, image, (message,), reference))
        return samples

    def query(self, sample: Sample, answer: str, instruction: str) -> Query:
        prompt = fill_template(
            instruction,
            context=sample.reference["caption"],
            question=sample.messages[-1].content,
            reference=sample.reference["answer"],
            answer=answer,
        )
        return Query((Message("system", self.system), Message("user", prompt)))

    def score(self, sample: Sample, answer: str) -> Score:
        return self._score(sample, 0.0, 0.0)

    def read(self, sample: Sample, answer: str, reply: str) -> Score | None:
        scores = ratings.two_scores(reply)
        return None if scores is None else self._score(sample, *scores)

    def _score(self, sample: Sample, gpt: float, model: float) -> Score:
        counts = {"gpt": gpt, "model": model, "n": 1.0}
        return Score(f"{gpt:g} {model:g}", part_counts(counts, sample.reference["category"], ALL))

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        metrics = []
        for part in [ALL, *parts_of(scores)]:
            rate = part_rate("relative_score", part, "model", "gpt", scale=100, headline=part == ALL)
            metrics.append(dataclasses.replace(rate, n=CountKey(part, "n")))
        return metrics


BENCHMARK = Benchmark(
    LlavaWildSettings,
    ("lmms-lab-encoder/llava-bench-in-the-wild", "lmms-lab/llava-bench-in-the-wild"),
    _LlavaWild,
    judged=True,
)
