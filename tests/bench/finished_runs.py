"""Finished evaluations of a benchmark whose answers a test chooses, written by what writes those of real ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmpref.bench.benchmark import Sample, Score, rate
from mmpref.bench.bootstrap import Clusters, percentile_interval, replicates
from mmpref.bench.records import records_path, write_records, write_resamples
from mmpref.run.results import Key, Results, Value
from mmpref.types import Message, ModelRef


def finished_run(
    path: Path,
    right: Mapping[str, np.ndarray],
    *,
    weights: str = "w",
    judge: str = "",
    benchmark: str = "pope",
    fingerprint: str = "f",
    missing: Collection[int] = (),
    recipe: Mapping[str, Any] | None = None,
) -> Path:
    """Write an evaluation whose one headline metric is the mean of numbers.

    Args:
        right: model -> [images]; 0 or 1 make McNemar's test.
        weights: of the adapter.
        judge: whose name stands behind the metric.
        missing: samples that no model has a score of.
        recipe: of the run; by default it names the model alone.
    """
    (path / "samples").mkdir(parents=True)
    metric = rate(f"accuracy{'@' * bool(judge)}{judge}", "all", "right", "n", headline=True)
    values, resamples = [], {}
    for model, each in right.items():
        ids = [f"{number:05}" for number in range(len(each))]
        samples = [Sample(name, name, None, (Message("user", "Is it?"),), "yes") for name in ids]
        scores = [Score("", {"right": float(value), "n": 1.0}) for value in each]
        answers = ["yes"] * len(ids)
        lost = {ids[number] for number in missing}
        write_records(records_path(path, model, benchmark), samples, answers, scores, lost, {*ids} - lost)
        kept = [number for number in range(len(ids)) if number not in missing]
        key = Key(benchmark, metric.name, "all")
        resamples[model, key] = replicates(
            Clusters.of([ids[number] for number in kept], [scores[number] for number in kept]), metric, 0
        )
        values.append(
            Value(
                model=model,
                **key._asdict(),
                **percentile_interval(resamples[model, key])._asdict(),
                n=len(kept),
                images=len(kept),
                missing=len(missing),
                higher_is_better=True,
                headline=True,
                of=("right", "n"),
                settings_hash="s",
                data={"id": "me/pope", "fingerprint": fingerprint, "split": "test"},
            )
        )
    write_resamples(path, resamples)
    Results({model: ModelRef("me/vlm") for model in right}, tuple(values)).write(path)
    manifest = {
        "command": "evaluate",
        "recipe": recipe or {"model": "me/vlm"},
        "recipe_hash": "0123456789abcdef",
        "model": {"id": "me/vlm", "revision": None},
        "adapter": {"id": str(path), "revision": None, "weights": weights} if len(right) > 1 else None,
        "seeds": {"bootstrap": 0},
        "counts": {benchmark: len(ids)},
        "missing": {benchmark: dict.fromkeys(right, len(missing))},
    }
    (path / "run.json").write_text(json.dumps(manifest))
    return path
