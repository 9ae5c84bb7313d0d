"""Simulated ledgers: real measurements of models whose hallucinations are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mmpref.bench.scoring import chair, pope
from mmpref.run.results import ALL, Key
from mmpref.study.measurement import ImageCounts, Measurement, MetricValue
from mmpref.study.plan import load
from mmpref.study.plan_types import Plan
from mmpref.synonyms import Synonyms

IMAGES = 60
MENTIONS = 6


def plan_of(folder: Path, rows: Sequence[str], claims: Sequence[Mapping[str, Any]] = (), bases: int = 3) -> Plan:
    """A plan of a base and rows that are all trained alike."""
    content = {
        "title": "A study <of> rows",
        "bases": {"seeds": list(range(bases)), "trained_by": "nobody:here"},
        "data": {"pairs": {"method": "bdhs"}},
        "train": {"dpo": {"method": "dpo"}},
        "evaluate": {"dev": {"benchmarks": ["chair"]}, "test": {"benchmarks": ["chair", "pope"]}},
        "rows": {"base": {}, **{row: {"data": "pairs", "train": "dpo"} for row in rows}},
        "claims": list(claims),
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load(str(path))


def claim(id: str, *effects: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A claim in a plan's YAML."""
    usual = {"metric": "chair chair_i", "split": "test"}
    return {"id": id, "says": f"claim {id}", "effects": [{**usual, **effect} for effect in effects], **more}


def measured(
    row: str,
    rate: float,
    base: int = 0,
    seed: int = 0,
    *,
    images: int = IMAGES,
    noise: int = 0,
    split: str = "test",
    **more: Any,
) -> Measurement:
    """A run whose captions hallucinate at a rate; what is drawn of an image in a base is alike in all rows.

    Args:
        noise: draws differ by it.
    """
    draws = np.random.default_rng([base, noise]).random((images, MENTIONS))
    false = (draws < rate).sum(1)
    counts = [_caption(int(count)) for count in false]
    yes = [_questions(float(one)) for one in np.random.default_rng([base, noise, 1]).random(images)]
    ids = [f"{split}-{index}" for index in range(images)]
    of = {"chair": ImageCounts.collect(ids, counts)[0], "pope": ImageCounts.collect(ids, yes)[0]}
    values = [
        MetricValue(
            Key("chair", name, ALL),
            float(of["chair"].of(top).sum() / of["chair"].of(bottom).sum()),
            int(of["chair"].of(bottom).sum()),
            {"chair_i": False, "chair_s": False, "recall": True}.get(name),
            (top, bottom),
        )
        for name, (top, bottom) in chair.RATES.items()
        if {top, bottom} <= set(of["chair"].names)
    ]
    for part in ("adversarial", ALL):
        right, n = (f"{part}/{name}" for name in ("right", "n"))
        accuracy = float(of["pope"].of(right).sum() / of["pope"].of(n).sum())
        values.append(MetricValue(Key("pope", "accuracy", part), accuracy, 2 * images, True, (right, n)))
    return Measurement(row=row, split=split, base=base, seed=seed, values=tuple(values), counts=of, **more)


def _caption(false: int) -> dict[str, float]:
    said = [*(f"absent{number}" for number in range(false)), *(f"there{number}" for number in range(MENTIONS - false))]
    truth = [f"there{number}" for number in range(MENTIONS)]
    synonyms = Synonyms({name: name for name in {*said, *truth}})
    counted: dict[str, float] = dict(chair.count(" ".join(said), truth, synonyms))
    return counted


def _questions(draw: float) -> dict[str, float]:
    """Of a question whose answer is yes, and one whose answer is no."""
    answers = [pope.count("yes" if draw < 0.8 else "no", "yes"), pope.count("no", "no")]
    counts = {name: sum(answer[name] for answer in answers) for name in pope.COUNTS}
    counts["right"] = counts["tp"] + counts["tn"]
    return {f"{part}/{name}": value for part in ("adversarial", ALL) for name, value in counts.items()}
