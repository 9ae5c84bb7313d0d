"""AMBER: hallucination in captions, and yes/no questions on existence, attributes and relations (arXiv 2311.07397).

A row of ``data/query/query_all.json`` of https://github.com/junyangwang0410/AMBER (1,004 captions, 14,216 questions),
and its annotation in ``data/annotations.json``, found by id::

    {"id": 1, "image": "AMBER_1.jpg", "query": "Describe this image."}
    {"id": 1, "type": "generative", "truth": ["mountain", "lake", ...], "hallu": ["boat", ...]}

Official scorer: `inference.py` there. Its nouns and similar words need nltk's and spaCy's models; here captions are
counted by the table's own words, so the metrics are called ``_lexical`` (`mmpref.bench.scoring.amber`). Questions count
only the exact "Yes" and "No", with No as the positive class; ``accuracy_read`` takes POPE's reading instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import (
    NO_MENTION,
    NONE_READ,
    PLACE,
    Benchmark,
    CountKey,
    Metric,
    Sample,
    Score,
)
from mmpref.bench.cells import image_cell, image_name, list_cell, optional_text, text_cell, with_suffix
from mmpref.bench.parts import part_counts, part_rate
from mmpref.bench.scoring import amber, pope
from mmpref.bench.yes_no_words import YesNoSettings, YesNoTask
from mmpref.errors import InputError, UsageError
from mmpref.recipes.names import names
from mmpref.registry import resolve_path
from mmpref.run.results import ALL
from mmpref.tables.open import open_table
from mmpref.tables.table import Table, numbered_rows
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums

CAPTION = "caption"
_PARTS = {
    "discriminative-hallucination": "existence",
    "discriminative-attribute-state": "attribute",
    "discriminative-attribute-number": "attribute",
    "discriminative-attribute-action": "attribute",
}


@dataclass(frozen=True)
class AmberSettings(YesNoSettings):
    """The authors' files, and how questions are asked.

    Args:
        data: the queries, such as the path of ``query_all.json``.
        annotations: path of ``annotations.json``; null where the rows have its columns.
        images: folder of the images; by default the queries' own.
        relation, safe_words: the word tables ``relation.json`` and ``safe_words.txt``.
        suffix: appended to the yes/no questions; none as published.
    """

    split: str = "train"
    annotations: str | None = field(default=None, metadata=names("table"))
    images: str | None = field(default=None, metadata=PLACE)
    relation: str | None = field(default=None, metadata=names("path"))
    safe_words: str | None = field(default=None, metadata=names("path"))
    suffix: str = ""
    max_new_tokens: int = 512


def _f1(part: str, sums: Sums) -> np.ndarray:
    both_no, said_no, no = (sums[CountKey(part, name)] for name in ("both_no", "said_no", "no"))
    precision, recall = both_no / (said_no + amber.EPSILON), both_no / (no + amber.EPSILON)
    f1: np.ndarray = 2 * precision * recall / (precision + recall + (1e-3 if part == "existence" else 1e-4))
    return f1


def _amber(sums: Sums) -> np.ndarray:
    chair = sums[CountKey(CAPTION, "hallucinated")] / (sums[CountKey(CAPTION, "mentions")] + amber.EPSILON)
    score: np.ndarray = (1 - chair + _f1(ALL, sums)) / 2
    return score


class _Amber(YesNoTask[AmberSettings]):
    name = "amber"

    def __init__(self, settings: AmberSettings) -> None:
        if settings.relation is None:
            raise UsageError(
                "The benchmark amber needs its table of related words.",
                "Take data/ of https://github.com/junyangwang0410/AMBER and give "
                "--set benchmark.amber.relation=PATH (and safe_words).",
            )
        super().__init__(settings)
        safe = settings.safe_words
        self.tables = amber.Tables.read(resolve_path(settings.relation), resolve_path(safe) if safe else None)

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        spec = self.settings.annotations
        annotations = (
            {text_cell(row, "id", where): row for _, row, where in numbered_rows(open_table(spec), None)}
            if spec
            else {}
        )
        samples = []
        for _, row, where in numbered_rows(table, limit):
            name = text_cell(row, "id", where)
            annotation = annotations.get(name) if spec else row
            if annotation is None:
                raise InputError(f"{where}: {spec} has no annotation of id {name}.")
            reference = self._reference(annotation, where)
            caption = reference["part"] == CAPTION
            message = Message(
                "user", with_suffix(text_cell(row, "query", where), "" if caption else self.settings.suffix)
            )
            image = image_cell(row, where, table.images, folder=self.settings.images)
            image_file = row["image"] if image_name(row) else None
            image_id = optional_text(row, "image_id") or image_file or name
            samples.append(Sample(name, image_id, image, (message,), reference))
        return samples

    def _reference(self, annotation: Mapping[str, Any], where: str) -> dict[str, Any]:
        kind = text_cell(annotation, "type", where)
        if kind != "generative":
            return {
                "part": _PARTS.get(kind, "relation"),
                "truth": self.truth(annotation, "truth", where),
            }
        lists = {
            name: [self.tables.object_of(one) for one in list_cell(annotation, name, where)]
            for name in ("truth", "hallu")
        }
        unknown = sorted({word for words in lists.values() for word in words} - set(self.tables.relation))
        if unknown:
            raise InputError(f"{where} is annotated with {unknown[0]!r}, which {self.settings.relation} does not have.")
        return {"part": CAPTION, **lists}

    def score(self, sample: Sample, answer: str) -> Score:
        part = sample.reference["part"]
        if part == CAPTION:
            nouns = amber.nouns(answer, self.tables)
            counts = amber.count(nouns, sample.reference["truth"], sample.reference["hallu"], self.tables)
            return Score(
                ", ".join(nouns),
                part_counts(counts, CAPTION),
                parse_failure=not answer.strip(),
            )
        answer = self.in_english(answer)
        parsed, truth = amber.parse(answer), sample.reference["truth"]
        counts = {
            "right": float(parsed == truth),
            "read": float(pope.parse(answer) == truth),
            "n": 1.0,
            "said_no": float(parsed == "no"),
            "no": float(truth == "no"),
            "both_no": float(parsed == truth == "no"),
        }
        unread = {"accuracy_read": pope.unreadable(answer)}
        return Score(parsed, part_counts(counts, part, ALL), parsed == "other", unread=unread)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        parts = {key.part for score in scores for key in score.counts if isinstance(key, CountKey)}
        metrics = []
        if CAPTION in parts:
            metrics += [
                part_rate("chair_lexical", CAPTION, "hallucinated", "mentions", False, headline=True, empty=NO_MENTION),
                part_rate("cover_lexical", CAPTION, "covered", "objects"),
                part_rate("no_hal_lexical", CAPTION, "clean", binary=True),
                part_rate("cog_lexical", CAPTION, "conjured", "imagined", False),
            ]
        for part in [part for part in (ALL, "existence", "attribute", "relation") if part in parts]:
            metrics += [
                part_rate("accuracy", part, "right", binary=True),
                part_rate("accuracy_read", part, "read", binary=True),
                part_rate("precision_no", part, "both_no", "said_no", empty=NONE_READ),
                part_rate("recall_no", part, "both_no", "no"),
                Metric("f1_no", part, partial(_f1, part), CountKey(part, "n"), headline=part == ALL),
            ]
        if {CAPTION, ALL} <= parts:
            metrics.append(Metric("amber_lexical", ALL, _amber, CountKey(ALL, "n")))
        return metrics


BENCHMARK = Benchmark(AmberSettings, (), _Amber, hallucination=True)
