"""What the base and its adapter hallucinate on the testbed: things that look like one that is shown, or unlike all,
usual at such a place or not.

    python scripts/confused_things.py RUN      # such as runs/testbed/evaluate

Shares of all things mentioned; differences with 95 % intervals, paired, over images.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

from mmpref.bench.benchmark import Score, rate
from mmpref.bench.bootstrap import Clusters, percentile_interval, replicates
from mmpref.bench.records import records_path
from mmpref.run.results import ADAPTER, BASE
from mmpref.testbed.things import family

PARTS = [f"{look}, {place}" for look in ("like one shown", "unlike all") for place in ("usual", "not usual")]


def counted(mentions: list[str], objects: set[str], usual: set[str]) -> Score:
    """Hallucinated mentions of a caption by part, and all its mentions."""
    wrong = [name for name in mentions if name not in objects]
    alike = {name for shown in objects for name in family(shown)}
    found = [
        ("like one shown, " if name in alike else "unlike all, ") + ("usual" if name in usual else "not usual")
        for name in wrong
    ]
    return Score(
        ", ".join(mentions), {"mentions": float(len(mentions)), **{part: float(found.count(part)) for part in PARTS}}
    )


def clusters(run: Path, model: str) -> Clusters:
    """The counts of a model's captions, by image."""
    rows = pq.read_table(records_path(run, model, "chair")).to_pylist()
    truths = [json.loads(row["reference"]) for row in rows]
    scores = [
        counted([name for name in row["parsed"].split(", ") if name], set(truth["objects"]), set(truth["usual"]))
        for row, truth in zip(rows, truths, strict=True)
    ]
    return Clusters.of([row["image_id"] for row in rows], scores)


def main(run: Path) -> None:
    base, adapter = (clusters(run, model) for model in (BASE, ADAPTER))
    for part in PARTS:
        metric = rate(part, "all", part, "mentions")
        first, second = (float(metric.value(one.resampled(0))[0]) for one in (base, adapter))
        change = percentile_interval(replicates(adapter, metric, 0) - replicates(base, metric, 0))
        print(f"{part:26} {first:.3f} {second:.3f}  {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
