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
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import Benchmark, Metric, Sample, Score, rate
from mmpref.bench.scoring import amber, pope
from mmpref.errors import InputError, UsageError
from mmpref.registry import resolve_path
from mmpref.tables.cells import list_of, one_of, optional, text
from mmpref.tables.image_cells import image_name, image_of
from mmpref.tables.open import open_table
from mmpref.tables.table import Table, numbered
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums

_PARTS = {
    "discriminative-hallucination": "existence",
    "discriminative-attribute-state": "attribute",
    "discriminative-attribute-number": "attribute",
    "discriminative-attribute-action": "attribute",
}


@dataclass(frozen=True)
class AmberSettings:
    """Args:
    data, config, split: the queries, such as the path of ``query_all.json``.
    annotations: path of ``annotations.json``; null where the rows have its columns.
    images: folder of the images; by default the queries' own.
    relation, safe_words: the word tables ``relation.json`` and ``safe_words.txt``.
    suffix: appended to the yes/no questions; none as published.
    max_new_tokens: of an answer.
    """

    data: str | None = None
    config: str | None = None
    split: str = "train"
    annotations: str | None = None
    images: str | None = None
    relation: str | None = None
    safe_words: str | None = None
    suffix: str = ""
    max_new_tokens: int = 512


def _f1(part: str, sums: Sums) -> np.ndarray:
    said, asked = sums[f"{part}/said_no"] + amber.EPSILON, sums[f"{part}/no"] + amber.EPSILON
    precision, recall = sums[f"{part}/both_no"] / said, sums[f"{part}/both_no"] / asked
    f1: np.ndarray = 2 * precision * recall / (precision + recall + (1e-3 if part == "existence" else 1e-4))
    return f1


def _amber(sums: Sums) -> np.ndarray:
    chair = sums["caption/hallucinated"] / (sums["caption/mentions"] + amber.EPSILON)
    score: np.ndarray = (1 - chair + _f1("all", sums)) / 2
    return score


class _Amber:
    def __init__(self, settings: AmberSettings) -> None:
        if settings.relation is None:
            raise UsageError(
                "The benchmark amber needs its table of related words.",
                "Take data/ of https://github.com/junyangwang0410/AMBER and give "
                "--set benchmark.amber.relation=PATH (and safe_words).",
            )
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens
        safe = settings.safe_words
        self.tables = amber.Tables.read(resolve_path(settings.relation), resolve_path(safe) if safe else None)

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        spec = self.settings.annotations
        found = {text(row, "id", where): row for _, row, where in numbered(open_table(spec), None)} if spec else {}
        samples = []
        for _, row, where in numbered(table, limit):
            name = text(row, "id", where)
            annotation = found.get(name) if spec else row
            if annotation is None:
                raise InputError(f"{where}: {spec} has no annotation of id {name}.")
            reference = self._reference(annotation, where)
            caption = reference["part"] == "caption"
            message = Message("user", text(row, "query", where) + ("" if caption else self.settings.suffix))
            image = image_of(row, where, table.root, folder=self.settings.images)
            named = row["image"] if image_name(row) else None
            samples.append(Sample(name, optional(row, "image_id") or named or name, image, (message,), reference))
        return samples

    def _reference(self, annotation: Mapping[str, Any], where: str) -> dict[str, Any]:
        kind = text(annotation, "type", where)
        if kind != "generative":
            return {"part": _PARTS.get(kind, "relation"), "truth": one_of(annotation, "truth", where, ("yes", "no"))}
        lists = {name: list_of(annotation, name, where) for name in ("truth", "hallu")}
        unknown = sorted({word for words in lists.values() for word in words} - set(self.tables.relation))
        if unknown:
            raise InputError(f"{where} is annotated with {unknown[0]!r}, which {self.settings.relation} does not have.")
        return {"part": "caption", **lists}

    def score(self, sample: Sample, answer: str) -> Score:
        part = sample.reference["part"]
        if part == "caption":
            nouns = amber.nouns(answer, self.tables)
            counts = amber.count(nouns, sample.reference["truth"], sample.reference["hallu"], self.tables)
            return Score(
                ", ".join(nouns),
                {f"caption/{name}": value for name, value in counts.items()},
                parse_failure=not answer.strip(),
            )
        said, truth = amber.said(answer), sample.reference["truth"]
        counts = {
            "right": float(said == truth),
            "read": float(pope.parse(answer) == truth),
            "n": 1.0,
            "said_no": float(said == "no"),
            "no": float(truth == "no"),
            "both_no": float(said == truth == "no"),
        }
        named = {f"{name}/{key}": value for name in (part, "all") for key, value in counts.items()}
        return Score(said, named, said == "other")

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        parts = {name.partition("/")[0] for score in scores for name in score.counts}
        metrics = []
        if "caption" in parts:
            metrics += [
                rate("chair_lexical", "caption", "caption/hallucinated", "caption/mentions", False, headline=True),
                rate("cover_lexical", "caption", "caption/covered", "caption/objects"),
                rate("no_hal_lexical", "caption", "caption/clean", "caption/n", binary=True),
                rate("cog_lexical", "caption", "caption/conjured", "caption/imagined", False),
            ]
        for part in [one for one in ("all", "existence", "attribute", "relation") if one in parts]:
            metrics += [
                rate("accuracy", part, f"{part}/right", f"{part}/n", binary=True),
                rate("accuracy_read", part, f"{part}/read", f"{part}/n", binary=True),
                rate("precision_no", part, f"{part}/both_no", f"{part}/said_no"),
                rate("recall_no", part, f"{part}/both_no", f"{part}/no"),
                Metric("f1_no", part, partial(_f1, part), f"{part}/n", headline=part == "all"),
            ]
        if {"caption", "all"} <= parts:
            metrics.append(Metric("amber_lexical", "all", _amber, "all/n"))
        return metrics


BENCHMARK = Benchmark(AmberSettings, (), _Amber)
