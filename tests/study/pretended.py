"""A study's schedule whose work is only pretended: it leaves folders and measurements, and nothing in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmpref.run.results import Key
from mmpref.study import plan
from mmpref.study.measurement import Measurement, MetricValue
from mmpref.study.schedule import Schedule, Unit
from mmpref.study.steps import BASE
from mmpref.study.targets import select

RECALL = {1e-3: 0.9, 1e-2: 0.5}


def schedule_of(path: Path, *only: str) -> Schedule:
    made = plan.load(str(path))
    return Schedule(made, path.parent / "study", select(made, only))


def pretend(schedule: Schedule, unit: Unit) -> None:
    """What a unit would leave: a folder, or measurements."""
    if unit.step:
        unit.step.folder.mkdir(parents=True)
        if unit.step.command != BASE:
            (unit.step.folder / "run.json").write_text("{}")
        schedule.finished(unit)
        return
    job = unit.job
    assert job
    recall = RECALL.get(job.point.get("trainer.learning_rate", 1e-3), 0.9)
    values = (
        MetricValue(Key("chair", "chair_i", "all"), recall / 10, 9, False),
        MetricValue(Key("chair", "recall", "all"), recall, 9, True),
    )
    facts: dict[str, Any] = {"row": job.row, "base": job.base, "seed": job.seed, "point": job.point}
    facts |= {"is_grid_point": job.is_grid_point, "outside": job.outside, "values": values}
    made = [Measurement(**facts, split=split, recipe_hash=job.hashes[split]) for split in unit.splits]
    schedule.finished(unit, made)


def run(schedule: Schedule, until: int = 1000) -> list[str]:
    """Titles of what was done."""
    done = []
    while len(done) < until and (unit := schedule.next()):
        done.append(unit.step.what if unit.step else unit.key)
        pretend(schedule, unit)
    return done


def run_but(schedule: Schedule, rate: float) -> None:
    """All that a schedule has, but for trainings of one learning rate, which fail."""
    while unit := schedule.next():
        if unit.step and unit.step.call and f"{rate}" in " ".join(unit.step.call.arguments()):
            schedule.failed(unit, "the loss is not finite")
        else:
            pretend(schedule, unit)
