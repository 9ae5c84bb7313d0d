"""Object HalBench: objects that a description names and its image does not show, read by a judge (arXiv 2312.00849).

A row of ``eval/data/obj_halbench_300_with_image.jsonl`` of https://github.com/RLHF-V/RLAIF-V, 300 rows::

    {"org_idx": 0, "image_id": 276731, "question": "...", "image": "<base64 of a JPEG>"}

The truth comes from COCO's annotations of 2014 (``annotations``, a folder), or from a column ``objects``; the words
for objects are those of ``synonyms_refine.txt`` there. Official scorer: `eval/eval_gpt_obj_halbench.py`. Its structure
and parsing are kept; our words ask, in a user turn where the original has one system turn; names are read without its
tagger (`mmpref.bench.scoring.halbench`), and a list that cannot be read is missing, where the original asks again. The
published numbers are of 3 beams and gpt-3.5-turbo-0613, which is retired; answers here are greedy, one beam: numbers
are not comparable with published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import (
    NO_MENTION,
    Benchmark,
    Metric,
    QuestionSettings,
    QuestionTask,
    Sample,
    Score,
    rate,
    ratio,
)
from mmpref.bench.cells import image_cell, text_cell
from mmpref.bench.scoring import halbench, judge_prompts, ratings
from mmpref.errors import UsageError
from mmpref.judges.annotator import fill_template
from mmpref.judges.chat import Query
from mmpref.recipes.names import names
from mmpref.registry import resolve_path
from mmpref.run.results import ALL
from mmpref.synonyms import ListedObjects, Synonyms
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums


@dataclass(frozen=True)
class ObjectHalbenchSettings(QuestionSettings):
    """The questions, and what their images show.

    Args:
        data: the questions, such as the path of ``obj_halbench_300_with_image.jsonl``.
        annotations: folder of COCO's ``instances_val2014.json`` and so on; null where the rows have ``objects``.
        synonyms: path of ``synonyms_refine.txt``.
    """

    split: str = "train"
    annotations: str | None = field(default=None, metadata=names("path"))
    synonyms: str | None = field(default=None, metadata=names("path"))
    max_new_tokens: int = 1024


def _f1(sums: Sums) -> np.ndarray:
    recall = ratio(sums["found"], sums["objects"])
    right = ratio(sums["mentions"] - sums["hallucinated"], sums["mentions"])
    return ratio(2 * recall * right, recall + right, 0.0)


class _ObjectHalbench(QuestionTask[ObjectHalbenchSettings]):
    instruction, system, order = judge_prompts.OBJECT_HALBENCH, "", "single"

    def __init__(self, settings: ObjectHalbenchSettings) -> None:
        if settings.synonyms is None:
            raise UsageError(
                "The benchmark object-halbench needs a table of synonyms.",
                "Take eval/data/synonyms_refine.txt of https://github.com/RLHF-V/RLHF-V and give "
                "--set benchmark.object-halbench.synonyms=PATH.",
            )
        super().__init__(settings)
        self.synonyms = Synonyms.read(resolve_path(settings.synonyms), refined=True)

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        rows = list(numbered_rows(table, limit))
        listed = ListedObjects(self.synonyms, str(self.settings.synonyms))
        annotations, read = self.settings.annotations, [(row, where) for _, row, where in rows]
        truths = halbench.truths(read, annotations, self.synonyms, listed)
        self.remarks = listed.remarks("object-halbench")
        return [
            Sample(
                str(number),
                text_cell(row, "image_id", where),
                image_cell(row, where, table.images, folder=self.settings.images),
                (Message("user", text_cell(row, "question", where)),),
                truth,
            )
            for (number, row, where), truth in zip(rows, truths, strict=True)
        ]

    def query(self, sample: Sample, answer: str, instruction: str) -> Query | None:
        if halbench.is_short(answer):
            return None
        prompt = fill_template(instruction, question=sample.messages[-1].content, answer=answer)
        return Query((Message("user", prompt),))

    def score(self, sample: Sample, answer: str) -> Score:
        return self._score(sample, answer, [])

    def read(self, sample: Sample, answer: str, reply: str) -> Score | None:
        names = ratings.objects(reply)
        return None if names is None else self._score(sample, answer, names)

    def _score(self, sample: Sample, answer: str, names: Sequence[str]) -> Score:
        words = halbench.mentions(names, self.synonyms)
        return Score(
            ", ".join(words),
            halbench.count(words, answer, sample.reference, self.synonyms),
            parse_failure=not answer.strip(),
        )

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            rate(
                "response_hallucination",
                ALL,
                "with_hallucination",
                "with_mention",
                False,
                headline=True,
                empty=NO_MENTION,
            ),
            rate("mention_hallucination", ALL, "hallucinated", "mentions", False, empty=NO_MENTION),
            rate("recall", ALL, "found", "objects"),
            Metric("f1", ALL, _f1, "objects", empty=NO_MENTION),
            rate("mentions", ALL, "mentions", "n", None),
            rate("words", ALL, "words", "n", None),
        ]


BENCHMARK = Benchmark(ObjectHalbenchSettings, (), _ObjectHalbench, judged=True, hallucination=True)
