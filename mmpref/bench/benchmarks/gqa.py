"""GQA: compositional questions about scenes, by exact match (arXiv 1902.09506).

A row of ``lmms-lab-encoder/GQA`` (formerly ``lmms-lab/GQA``), configuration ``testdev_balanced_instructions``, split
``testdev``, 12,578 rows, and one of the 398 of ``testdev_balanced_images``, which it names::

    {"id": "201307251", "imageId": "n161313", "question": "Is it overcast?", "answer": "no",
     "fullAnswer": "No, it is clear.", "isBalanced": true, "types": {"structural": "verify", ...}}
    {"id": "n161313", "image": <image>}

Official scorer: LLaVA's `convert_gqa_for_eval.py`, then `eval.py` of the GQA download. ``accuracy_no_punctuation`` is
lmms-eval's exact match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmpref.bench.benchmark import Benchmark, Metric, QuestionSettings, QuestionTask, Sample, Score
from mmpref.bench.cells import image_cell, image_id, optional_text, require_columns, text_cell, with_suffix
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.bench.scoring import gqa
from mmpref.recipes.names import names
from mmpref.registry import resolve_path
from mmpref.run.results import ALL
from mmpref.tables.open import open_table
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import ImageData, Message


@dataclass(frozen=True)
class GqaSettings(QuestionSettings):
    """Where the images are, and how questions are asked.

    Args:
        images, images_config: table and configuration of the images, where the questions have none; the same table by
            default. A folder of the download's ``IMAGEID.jpg`` will do too.
        suffix: appended to every question (LLaVA's wording).
    """

    config: str | None = "testdev_balanced_instructions"
    split: str = "testdev"
    images: str | None = field(default=None, metadata=names("table"))
    images_config: str | None = "testdev_balanced_images"
    suffix: str = "\nAnswer the question using a single word or phrase."
    max_new_tokens: int = 16


class _Gqa(QuestionTask[GqaSettings]):
    def __init__(self, settings: GqaSettings) -> None:
        super().__init__(settings)
        folder = Path(resolve_path(settings.images)) if settings.images else None
        self._folder = folder if folder and folder.is_dir() and any(folder.glob("*.jpg")) else None

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        images: dict[str, ImageData] | None = None
        for number, row, where in numbered_rows(table, limit):
            require_columns(row, where, *([] if "imageId" in row else ["image"]), "question", "answer")
            if "imageId" not in row or "image" in row:
                image = image_cell(row, where, table.images)
                name = optional_text(row, "imageId") or image_id(row, image, number)
            else:
                name = text_cell(row, "imageId", where)
                if self._folder or table.image_roots:
                    folder = str(self._folder) if self._folder else None
                    image = image_cell({"image": f"{name}.jpg"}, where, table.image_roots, folder=folder)
                else:
                    images = self._images(table) if images is None else images
                    image = images.get(name) or ImageData(b"", f"{where} (no image {name!r})")
            message = Message("user", with_suffix(text_cell(row, "question", where), self.settings.suffix))
            kinds = row.get("types")
            kind = (optional_text(kinds, "structural") if isinstance(kinds, dict) else None) or ALL
            samples.append(
                Sample(
                    optional_text(row, "id") or str(number),
                    name,
                    image,
                    (message,),
                    {"answer": text_cell(row, "answer", where), "part": kind},
                )
            )
        return samples

    def _images(self, table: Table) -> dict[str, ImageData]:
        """All images by id: 398 serve 12,578 questions."""
        spec, split = self.settings.images or table.spec, self.settings.split
        other = open_table(
            spec, split, config=self.settings.images_config, revision=None if self.settings.images else table.revision
        )
        return {
            text_cell(row, "id", where): image_cell(row, where, other.images)
            for _, row, where in numbered_rows(other, None)
        }

    def score(self, sample: Sample, answer: str) -> Score:
        truth = sample.reference["answer"]
        counts = {
            "right": float(gqa.right(answer, truth)),
            "n": 1.0,
            "loose": float(gqa.right_without_punctuation(answer, truth)),
        }
        counts_by_part = part_counts(counts, sample.reference["part"], ALL)
        return Score(answer.rstrip(".").lower(), counts_by_part, parse_failure=not answer.strip())

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            metric
            for part in [ALL, *parts_of(scores)]
            for metric in (
                part_rate("accuracy", part, "right", binary=True, headline=part == ALL),
                part_rate("accuracy_no_punctuation", part, "loose", binary=True),
            )
        ]


BENCHMARK = Benchmark(GqaSettings, ("lmms-lab-encoder/GQA", "lmms-lab/GQA"), _Gqa)
