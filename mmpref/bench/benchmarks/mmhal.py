"""MMHal-Bench: questions that invite hallucination, rated 0 to 6 by a judge that reads text only (arXiv 2309.14525).

A row of ``response_template.json`` of ``Shengcao1006/MMHal-Bench``, 96 rows::

    {"question_type": "attribute", "question_topic": "food", "image_id": "...", "image_src": "https://.../4099_o.jpg",
     "image_content": ["Fruit", "Table"], "question": "What color is ...?", "gt_answer": "...", "model_answer": ""}

Images are those of ``test_data.zip`` there: unpack it and give the folder as ``--set benchmark.mmhal.images=FOLDER``.
Official scorer: LLaVA-RLHF `Eval/eval_gpt_mmhal.py` (Apache-2.0). The scale and the reply are its own, the words ours;
what cannot be read is missing here, where the original counts it as 0. The original judge, gpt-4-0314, is retired, and
numbers of different judges cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlparse

from mmpref.bench.benchmark import PLACE, Benchmark, Metric, QuestionSettings, QuestionTask, Sample, Score
from mmpref.bench.cells import image_cell, list_cell, optional_text, text_cell
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.bench.scoring import judge_prompts, ratings
from mmpref.errors import UsageError
from mmpref.judges.annotator import fill_template
from mmpref.judges.chat import Query
from mmpref.run.results import ALL
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message

SEES = {False: "You do not see the image.", True: "You see the image; it decides."}


@dataclass(frozen=True)
class MmhalSettings(QuestionSettings):
    """Where the images are.

    Args:
        images: their folder; null where the rows have a column ``image``.
    """

    split: str = "train"
    images: str | None = field(default=None, metadata=PLACE)
    max_new_tokens: int = 512


class MmhalTask(QuestionTask[MmhalSettings]):
    """MMHal-Bench with its settings applied.

    Args:
        sees: whether the judge is shown the image.
    """

    system, order = "", "single"

    def __init__(self, settings: MmhalSettings, sees: bool = False) -> None:
        super().__init__(settings)
        self._sees = sees
        self.instruction = judge_prompts.MMHAL.replace("{see}", SEES[sees])

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            if "image" in row:
                image = image_cell(row, where, table.images, folder=self.settings.images)
            elif self.settings.images is None and not table.image_roots:
                raise UsageError(
                    f"{where} names its image by an address.",
                    "Unpack test_data.zip of Shengcao1006/MMHal-Bench and give --set benchmark.mmhal.images=FOLDER.",
                )
            else:
                name = PurePosixPath(urlparse(text_cell(row, "image_src", where)).path).name
                image = image_cell({"image": name}, where, table.image_roots, folder=self.settings.images)
            question = text_cell(row, "question", where)
            reference = {
                "type": text_cell(row, "question_type", where),
                "answer": text_cell(row, "gt_answer", where),
                "contents": list_cell(row, "image_content", where),
            }
            image_id = optional_text(row, "image_id") or str(number)
            samples.append(Sample(str(number), image_id, image, (Message("user", question),), reference))
        return samples

    def query(self, sample: Sample, answer: str, instruction: str) -> Query:
        reference = sample.reference
        prompt = fill_template(
            instruction,
            contents=", ".join(reference["contents"]),
            question=sample.messages[-1].content,
            reference=reference["answer"],
            answer=answer,
        )
        return Query((Message("user", prompt),), sample.images if self._sees else ())

    def score(self, sample: Sample, answer: str) -> Score:
        return self._score(sample, 0)

    def read(self, sample: Sample, answer: str, reply: str) -> Score | None:
        rating = ratings.rating(reply)
        return None if rating is None else self._score(sample, rating)

    def _score(self, sample: Sample, rating: int) -> Score:
        wrong = rating < ratings.HALLUCINATES_BELOW
        counts = {
            "score": float(rating),
            "hallucinates": float(wrong),
            "n": 1.0,
            "informative": (rating if wrong else rating - 3) / 3,
        }
        return Score(str(rating), part_counts(counts, sample.reference["type"], ALL))

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            part_rate("score", ALL, "score", headline=True),
            part_rate("hallucination_rate", ALL, "hallucinates", "n", False, binary=True),
            part_rate("informativeness", ALL, "informative"),
            *(part_rate("score", part, "score") for part in parts_of(scores)),
        ]


BENCHMARK = Benchmark(
    MmhalSettings,
    ("hf://datasets/Shengcao1006/MMHal-Bench/response_template.json",),
    MmhalTask,
    judged=True,
    hallucination=True,
)
