"""Whether an evaluation is the published benchmark, or one's own by its rule: its data, its prompt, all of its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmpref.bench.benchmark import BENCHMARKS, Benchmark, CountKey, Sample, Score, places
from mmpref.bench.cells import image_key
from mmpref.bench.plan import Plan
from mmpref.hub_ids import is_commit
from mmpref.recipes import schema as recipes
from mmpref.registry import resolve_path
from mmpref.run.asked import Asked

_DATA = ("data", "split")
"""Settings that say which rows; they stand apart."""


def asked_of(plan: Plan, samples: str, limit: int | None = None, **others: Any) -> Asked:
    """What the results of a plan are results of.

    Args:
        samples: hash of the questions with their images, as `mmpref.bench.identity.data_facts` has it.
        limit: how many rows were asked for; told where there are more.
        others: settings beside the benchmark's own that change what is asked, such as the judge's prompt; None for
            one that was not given.
    """
    benchmark, table = BENCHMARKS.get(plan.name), plan.table
    told = {**others, **benchmark.decided_by(plan.settings)}
    given = {name: value for name, value in told.items() if value is not None}
    cut = {"limit": limit} if plan.cut else {}
    changed = {**changed_settings(benchmark, plan.settings), **cut, **given}
    published = table.spec in benchmark.candidates and is_commit(table.revision)
    return Asked(
        plan.name,
        plan.label,
        published and table.split == benchmark.settings().split and not changed,
        {**table.facts(), **({"config": config} if (config := plan.settings.config) else {})},
        len(plan.samples),
        _images(plan.samples),
        samples,
        changed,
        benchmark.hallucination,
        remarks=plan.remarks,
    )


def with_parts(asked: Asked, samples: Sequence[Sample], scores: Sequence[Score], parts: Collection[str]) -> Asked:
    """With what some parts of the benchmark are of: the samples whose scores have counts of them."""
    of: dict[str, list[Sample]] = {}
    for sample, score in zip(samples, scores, strict=True):
        for part in {key.part for key in score.counts if isinstance(key, CountKey)} & {*parts}:
            of.setdefault(part, []).append(sample)
    counts = {part: {"questions": len(own), "images": _images(own)} for part, own in sorted(of.items())}
    return replace(asked, parts=counts or None)


def _images(samples: Iterable[Sample]) -> int:
    """How many different ones there are."""
    return len({image_key(image, 0) for sample in samples for image in sample.images if image.content})


def changed_settings(benchmark: Benchmark, settings: Any) -> dict[str, Any]:
    """Settings that are not the published ones, by name; where something lies, and which rows, is none of them. To have
    none of a file that is published is to have another."""
    aside = places(settings) | {*_DATA}
    given, published = recipes.as_plain(settings), recipes.as_plain(benchmark.settings())
    return {
        name: value
        for name, value in given.items()
        if name not in aside
        and (value != published.get(name) or (value is None and name in benchmark.official_files))
        and not _is_official_file(benchmark, name, value)
    }


def _is_official_file(benchmark: Benchmark, name: str, value: Any) -> bool:
    """Whether the setting names a copy of the authors' own file."""
    wanted = benchmark.official_files.get(name)
    if wanted is None or not isinstance(value, str):
        return False
    path = Path(resolve_path(value))
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == wanted


def same_data(asked: Asked, other: Asked) -> bool:
    """Whether both are of the same questions, or of rows of the same split of the same data."""
    known = asked.data.get("fingerprint")
    same_rows = known is not None and other.data.get("fingerprint") == known and other.split == asked.split
    return same_rows or (bool(asked.samples) and other.samples == asked.samples)
