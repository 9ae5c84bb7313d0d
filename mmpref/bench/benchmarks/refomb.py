"""RefoMB: open questions about images, judged beside GPT-4V's answers from a description (arXiv 2405.17220).

A line of ``gpt4v_RefoMB_dev_0521.jsonl`` of RLHF-V/RLAIF-V's `eval/data` (99 questions about 73 images)::

    {"image_url": "https://.../multimodal_openmme_test_20240319__20.jpg", "question": "What is the background?",
     "description": "The image shows two men ...", "type": "Coarse Perception", "split": "dev", "id": "...",
     "answer": "The background of the image ..."}

``answer`` is GPT-4V's. Images are not fetched: load them from ``image_url`` into a folder under their own names, and
give ``--set benchmark.refomb.data=FILE --set benchmark.refomb.images=FOLDER``. Official scorer: RLHF-V/RLAIF-V
`eval/eval_RefoMB_p0.py` (commit 83d917b): a judge that reads the description, not the image, says which answer is
better, GPT-4V's (A, always shown first), the model's (B) or neither (C). ``win_rate`` is the mean of 0, 1 and 1/2;
its authors ask gpt-4-1106-preview, and recommend the mean of three runs. A reply without a verdict is missing; the
original asks again. The instruction is in our words; ``--judge-prompt`` takes the authors'.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mmpref.bench.benchmark import Benchmark, Metric, QuestionSettings, QuestionTask, Sample, Score
from mmpref.bench.cells import column_of, image_cell, text_cell
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.bench.scoring import judge_prompts
from mmpref.judges.annotator import fill_template
from mmpref.judges.chat import Query
from mmpref.run.results import ALL
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message

_VERDICT = re.compile(r"\[\[(A|B|C)\]\]")
WON = {"A": 0.0, "B": 1.0, "C": 0.5}
"""What a verdict counts for the model."""


@dataclass(frozen=True)
class RefombSettings(QuestionSettings):
    """What every benchmark about images has; long answers."""

    max_new_tokens: int = 1024


def verdict(reply: str) -> str | None:
    """``A``, ``B`` or ``C``, the first that a reply names in double brackets; None where it names none."""
    match = _VERDICT.search(reply)
    return match[1] if match else None


class _Refomb(QuestionTask[RefombSettings]):
    system, order = "", "reference-first"
    instruction = judge_prompts.REFOMB

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            reference = {
                "type": text_cell(row, "type", where),
                "description": text_cell(row, column_of(row, "description", "gt_description"), where),
                "answer": text_cell(row, "answer", where),
            }
            name = PurePosixPath(text_cell(row, "image_url", where)).name
            image = image_cell({**row, "image": name}, where, table.images, folder=self.settings.images)
            message = Message("user", text_cell(row, "question", where))
            samples.append(Sample(str(number), name, image, (message,), reference))
        return samples

    def query(self, sample: Sample, answer: str, instruction: str) -> Query:
        prompt = fill_template(
            instruction,
            context=sample.reference["description"],
            question=sample.messages[-1].content,
            reference=sample.reference["answer"],
            answer=answer,
        )
        return Query((Message("user", prompt),))

    def score(self, sample: Sample, answer: str) -> Score:
        return self._score(sample, "A")

    def read(self, sample: Sample, answer: str, reply: str) -> Score | None:
        said = verdict(reply)
        return self._score(sample, said) if said else None

    def _score(self, sample: Sample, said: str) -> Score:
        return Score(said, part_counts({"won": WON[said], "n": 1.0}, sample.reference["type"], ALL))

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [part_rate("win_rate", part, "won", headline=part == ALL) for part in [ALL, *parts_of(scores)]]


BENCHMARK = Benchmark(RefombSettings, (), _Refomb, judged=True, hallucination=True)
