"""RePOPE: POPE's questions with the labels that its authors corrected; questions without a clear answer are left out.

A line of ``annotations/coco_repope_random.json`` of https://github.com/YanNeu/RePOPE (arXiv 2504.15707)::

    {"question_id": 1, "image": "COCO_val2014_000000016631.jpg", "text": "Is there a person in the image?",
     "label": "yes"}

It corrects 9.3 % of POPE's yes and 1.7 % of its no, and has 2,774, 2,727 and 2,684 rows. The images are POPE's: give
the folder of the three files as ``--set benchmark.repope.annotations=FOLDER``. The rule is POPE's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mmpref.bench.benchmark import Benchmark, Sample
from mmpref.bench.benchmarks.pope import PopeSettings, PopeTask, open_folder
from mmpref.bench.cells import column_of, image_cell, image_name, optional_text, text_cell, with_suffix
from mmpref.errors import InputError, UsageError
from mmpref.log import logger
from mmpref.recipes.names import names
from mmpref.registry import resolve_path
from mmpref.tables.open import open_table
from mmpref.tables.table import Row, Table, numbered_rows
from mmpref.types import Message

CATEGORIES = ("random", "popular", "adversarial")
_Key = tuple[str, str, str]
Truth = Callable[[Row, str, str], str]


@dataclass(frozen=True)
class RepopeSettings(PopeSettings):
    """POPE's, and the labels.

    Args:
        annotations: folder of the corrected labels, or a table of them that has a column ``category`` too.
    """

    annotations: str | None = field(default=None, metadata=names("table"))


def _labels(spec: str, split: str, truth: Truth) -> dict[_Key, str]:
    """(category, image without its suffix, question) -> yes or no, as ``truth`` has it of row, column and place."""
    folder = Path(resolve_path(spec))
    if folder.is_dir():
        files = {category: folder / f"coco_repope_{category}.json" for category in CATEGORIES}
        tables = [(category, open_table(str(file))) for category, file in files.items() if file.is_file()]
        if not tables:
            raise InputError(f"{spec} has no coco_repope_*.json.", "Take annotations/ of the RePOPE repository.")
    else:
        tables = [("", open_table(spec, split))]
    labels = {}
    for category, table in tables:
        for _, row, where in numbered_rows(table, None):
            key = _key(
                category or text_cell(row, "category", where),
                text_cell(row, "image", where),
                text_cell(row, "text", where),
            )
            labels[key] = truth(row, "label", where)
    return labels


def _key(category: object, image: object, question: object) -> _Key:
    return str(category), Path(str(image)).stem, str(question).strip()


class _Repope(PopeTask):
    name = "repope"

    def __init__(self, settings: RepopeSettings) -> None:
        super().__init__(settings)
        if settings.annotations is None:
            raise UsageError(
                "The benchmark repope needs the corrected labels.",
                "Take annotations/ of https://github.com/YanNeu/RePOPE and give "
                "--set benchmark.repope.annotations=FOLDER.",
            )
        self.annotations = settings.annotations

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        labels = _labels(self.annotations, table.split, self.truth)
        samples, rows = [], 0
        for number, row, where in numbered_rows(table, limit):
            rows += 1
            category = text_cell(row, "category", where)
            name = optional_text(row, "image_source") or image_name(row) or text_cell(row, "image_source", where)
            question = text_cell(row, column_of(row, "question", "text"), where)
            label = labels.get(_key(category, name, question))
            if label is not None:
                message = Message("user", with_suffix(question, self.settings.suffix))
                image = image_cell(row, where, table.images, folder=self.settings.images)
                samples.append(Sample(str(number), name, image, (message,), {"answer": label, "part": category}))
        if not samples:
            raise InputError(
                f"None of the labels in {self.annotations} is about a row of {table.spec}.",
                "They are matched by category, image and question.",
            )
        logger.info("%d of %d questions have a clear answer.", len(samples), rows)
        return samples


BENCHMARK = Benchmark(
    RepopeSettings, ("lmms-lab-encoder/POPE", "lmms-lab/POPE"), _Repope, opens=open_folder, hallucination=True
)
