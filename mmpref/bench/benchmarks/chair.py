"""CHAIR: objects that a detailed caption mentions and the image does not show, with recall (arXiv 1809.02156).

A row of ``tsunghanwu/mscoco_chair``, split ``test``::

    {"image": <image>, "question_id": 310196, "gt_object": ["person", "skis"]}

Of one's own data ``image`` and ``objects`` suffice. With ``--set benchmark.chair.prompt_column=NAME`` each row asks
what stands there, and may have several images, which are shown in their order; its objects are those of the images that
it asks about.

Official scorer: https://github.com/LisaAnne/Hallucination (`utils/chair.py`). chair_i alone rewards short answers, so
recall, mentions and words stand beside it. COCO's table of synonyms is not shipped: give the path of the authors'
`data/synonyms.txt` as ``--set benchmark.chair.synonyms=PATH``. One's own data do without: the words that are looked for
are then the objects that their rows name, each by that one name.

Rows may have a column ``usual`` too: objects that one expects in such an image, there or not. If all have it, chair_i
is also told in two parts that add up to it: ``chair_i_typical``, the share of mentions that are hallucinated and usual,
and ``chair_i_other``. No published set has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmpref.bench.benchmark import NO_MENTION, Benchmark, Metric, QuestionSettings, QuestionTask, Sample, Score, rate
from mmpref.bench.cells import (
    column_of,
    image_cell,
    image_id,
    image_list,
    images_key,
    list_cell,
    objects_cell,
    optional_text,
    require_columns,
    text_cell,
)
from mmpref.bench.scoring import chair
from mmpref.errors import InputError, UsageError
from mmpref.log import counted
from mmpref.recipes.names import names
from mmpref.recipes.schema import OPTIONAL
from mmpref.registry import resolve_path
from mmpref.run.results import ALL
from mmpref.synonyms import COCO, ListedObjects, Synonyms, is_long
from mmpref.tables.cells import OBJECTS, is_empty
from mmpref.tables.messages import unread_media
from mmpref.tables.table import Row, Table, numbered_rows
from mmpref.types import ImageData, Message


@dataclass(frozen=True)
class ChairSettings(QuestionSettings):
    """What is asked, and the words for objects.

    Args:
        prompt: asked of every image.
        prompt_column: column of what is asked in its place, of each row something else.
        synonyms: path of the table of objects and words.
    """

    prompt: str = "Please describe this image in detail."
    prompt_column: str | None = field(default=None, metadata=OPTIONAL)
    synonyms: str | None = field(default=None, metadata=names("path"))
    max_new_tokens: int = 512


def _no_synonyms() -> UsageError:
    return UsageError(
        "The benchmark chair needs a table of synonyms.",
        "Take data/synonyms.txt of https://github.com/LisaAnne/Hallucination and give "
        "--set benchmark.chair.synonyms=PATH.",
    )


class _Chair(QuestionTask[ChairSettings]):
    def __init__(self, settings: ChairSettings) -> None:
        if settings.synonyms is None and settings.data is None:
            raise _no_synonyms()
        super().__init__(settings)
        self.synonyms = Synonyms.read(resolve_path(settings.synonyms)) if settings.synonyms else None

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        if self.synonyms is None:
            self.synonyms = self._of_rows(table)
        samples, listed, bare = [], ListedObjects(self.synonyms, self.settings.synonyms or table.name), 0
        for number, row, where in numbered_rows(table, limit):
            objects = _objects(row, where)
            bare += not objects
            reference = {"objects": listed(objects, number)}
            if "usual" in row:
                usual = list_cell(row, "usual", where)
                reference["usual"] = [one for name in usual for one in self.synonyms.listed(name)]
            image, *further = self._images(row, where, table.images)
            seen = images_key((image, *further), number) if further else image_id(row, image, number)
            name = optional_text(row, "question_id") or seen
            asked = (Message("user", self._prompt(row, where)),)
            samples.append(Sample(str(number), name, image, asked, reference, further_images=tuple(further)))
        self.remarks = (*self.remarks, *listed.remarks("chair"))
        if bare:
            told = (
                f"{bare:,} of {counted(len(samples), 'row')} list no objects: whatever is named there counts as false."
            )
            self.remarks = (*self.remarks, told)
        return samples

    def _images(self, row: Row, where: str, roots: tuple[Path, ...]) -> list[ImageData]:
        """One, of which ``prompt`` speaks, or those that a row's own prompt asks about."""
        if self.settings.prompt_column is None:
            return [image_cell(row, where, roots, folder=self.settings.images)]
        both = ["image", "images"] if not (is_empty(row.get("image")) or is_empty(row.get("images"))) else []
        if further := unread_media(row) or both:
            raise InputError(
                f"{where} has images, or what is no image, in several columns ({', '.join(further)}).",
                "Put all images that a prompt is about into one list, in the column `images`.",
            )
        return image_list(row, where, roots, folder=self.settings.images)

    def _prompt(self, row: Row, where: str) -> str:
        column = self.settings.prompt_column
        return self.settings.prompt if column is None else text_cell(row, column, where)

    def _of_rows(self, table: Table) -> Synonyms:
        """The table of synonyms that the objects of all rows make, however few of them are asked about."""
        names: set[str] = set()
        for _, row, where in numbered_rows(table, None):
            if column_of(row, *OBJECTS) == "gt_object":  # COCO's, whose numbers are those of its authors' table
                raise _no_synonyms()
            names.update(_objects(row, where))
        if longer := sorted(filter(is_long, names)):
            raise InputError(
                f"{table.spec} names the object {longer[0][:80]!r}, and CHAIR finds names of one word or two.",
                "Give it a shorter name, or a table of synonyms: --set benchmark.chair.synonyms=FILE.",
            )
        self.remarks = (
            f"chair has no table of synonyms: it looks for the {len(names)} objects that {table.name} names, each by "
            "that one name, with plurals by English rules: of another language it finds some and misses others. Other "
            "words for them, and other things, are not seen: hallucinations of these do not count. "
            "--set benchmark.chair.synonyms=FILE says more (one line an object, its name first, synonyms and plurals "
            "behind it).",
        )
        return Synonyms.of(names)

    def score(self, sample: Sample, answer: str) -> Score:
        assert self.synonyms is not None  # samples are made before they are scored
        return Score(
            ", ".join(self.synonyms.objects(answer)),
            chair.count(answer, sample.reference["objects"], self.synonyms, sample.reference.get("usual")),
            parse_failure=not answer.strip(),
        )

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        split = bool(scores) and all("typical" in score.counts for score in scores)
        return [
            rate("chair_i", ALL, *chair.RATES["chair_i"], False, headline=True, empty=NO_MENTION),
            *(rate(name, ALL, *counts, False, empty=NO_MENTION) for name, counts in chair.PARTS.items() if split),
            rate("chair_s", ALL, *chair.RATES["chair_s"], False, binary=True),
            rate("recall", ALL, *chair.RATES["recall"]),
            rate("mentions", ALL, *chair.RATES["mentions"], None),
            rate("words", ALL, *chair.RATES["words"], None),
        ]


def _objects(row: Row, where: str) -> list[str]:
    """What the image of a row shows; of a row that lacks the image as well, both are told."""
    require_columns(row, where, "image", column_of(row, *OBJECTS))
    return objects_cell(row, where)


BENCHMARK = Benchmark(
    ChairSettings,
    ("tsunghanwu/mscoco_chair",),
    _Chair,
    hallucination=True,
    official_files={"synonyms": COCO},
)
