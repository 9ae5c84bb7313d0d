"""CHAIR: objects that a detailed caption mentions and the image does not show, with recall (arXiv 1809.02156).

A row of ``tsunghanwu/mscoco_chair``, split ``test``::

    {"image": <image>, "question_id": 310196, "gt_object": ["person", "skis"]}

Official scorer: https://github.com/LisaAnne/Hallucination (`utils/chair.py`). chair_i alone rewards short answers, so
recall, mentions and words stand beside it. COCO's table of synonyms is not shipped: give the path of the authors'
`data/synonyms.txt` as ``--set benchmark.chair.synonyms=PATH``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpref.bench.benchmark import Benchmark, Metric, QuestionSettings, QuestionTask, Sample, Score, rate
from mmpref.bench.cells import image_cell, image_name, list_cell, optional_text, text_cell
from mmpref.bench.scoring import chair
from mmpref.errors import UsageError
from mmpref.recipes.names import names
from mmpref.registry import resolve_path
from mmpref.run.results import ALL
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message


@dataclass(frozen=True)
class ChairSettings(QuestionSettings):
    """What is asked, and the words for objects.

    Args:
        prompt: asked of every image.
        synonyms: path of the table of objects and words.
    """

    prompt: str = "Please describe this image in detail."
    synonyms: str | None = field(default=None, metadata=names("path"))
    max_new_tokens: int = 512


class _Chair(QuestionTask[ChairSettings]):
    def __init__(self, settings: ChairSettings) -> None:
        if settings.synonyms is None:
            raise UsageError(
                "The benchmark chair needs a table of synonyms.",
                "Take data/synonyms.txt of https://github.com/LisaAnne/Hallucination and give "
                "--set benchmark.chair.synonyms=PATH.",
            )
        super().__init__(settings)
        self.synonyms = chair.Synonyms.read(resolve_path(settings.synonyms))

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered_rows(table, limit):
            objects = [name.lower() for name in list_cell(row, "gt_object", where)]
            truth = [self.synonyms.node.get(name, name) for name in objects]
            image_id = optional_text(row, "question_id") or image_name(row) or text_cell(row, "question_id", where)
            samples.append(
                Sample(
                    str(number),
                    image_id,
                    image_cell(row, where, table.root, folder=self.settings.images),
                    (Message("user", self.settings.prompt),),
                    truth,
                )
            )
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        return Score(
            ", ".join(self.synonyms.objects(answer)),
            chair.count(answer, sample.reference, self.synonyms),
            parse_failure=not answer.strip(),
        )

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            rate("chair_i", ALL, *chair.RATES["chair_i"], False, headline=True),
            rate("chair_s", ALL, *chair.RATES["chair_s"], False, binary=True),
            rate("recall", ALL, *chair.RATES["recall"]),
            rate("mentions", ALL, *chair.RATES["mentions"], None),
            rate("words", ALL, *chair.RATES["words"], None),
        ]


BENCHMARK = Benchmark(
    ChairSettings,
    ("tsunghanwu/mscoco_chair",),
    _Chair,
    hallucination=True,
    # data/synonyms.txt at 6e4d33c of https://github.com/LisaAnne/Hallucination
    official_files={"synonyms": "b685537b36fe21b791c87151b96a991ceb582edff19f3da204dcc7a7905502f2"},
)
