"""A folder that several plans work in: rows of the same settings are the same work, and are shared; none replaces what
another has measured. Which plans have worked in it, the folder says; of one that came without, nobody is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmpref.errors import MmprefError, RunError
from mmpref.registry import yaml_files
from mmpref.run.files import write_atomic
from mmpref.run.manifest import STATE
from mmpref.study.plan import load
from mmpref.study.plan_file import GROUP
from mmpref.study.plan_types import Plan
from mmpref.study.schedule import Schedule
from mmpref.text_files import read_text

_PLANS = "plans.json"


def refuse_others(schedule: Schedule) -> None:
    """See that a session would replace no measurement that another plan, as it stands now, has in the folder.

    Raises:
        RunError: it would.
    """
    others = list(_others(schedule))
    replaced = schedule.replaced() if others else set()
    for other in others if replaced else ():
        theirs = Schedule(other, schedule.folder, list(other.rows)).measured()
        if lost := [one for one in theirs if one.name in replaced]:
            rows = ", ".join(dict.fromkeys(one.row for one in lost))
            scale = f" at the scale {other.scale}" if other.scale else ""
            raise RunError(
                f"{schedule.plan.path} has rows that the plan {other.name}{scale} has measured in {schedule.folder} by "
                f"other settings ({rows}): they would take their place.",
                "Choose another --output, or give these rows other names.",
            )


def keep_plan(schedule: Schedule) -> None:
    """Keep with the folder that the plan has worked in it.

    Raises:
        RunError: the disk is full or refuses the write.
    """
    known, own = _known(schedule.folder), _facts(schedule.plan)
    if own not in known:
        write_atomic(schedule.folder / STATE / _PLANS, json.dumps([*known, own], indent=1) + "\n")


def _others(schedule: Schedule) -> Iterator[Plan]:
    """Plans that have worked in the folder beside the schedule's own, as far as they are there still."""
    for facts in _known(schedule.folder):
        if facts != _facts(schedule.plan):
            try:
                yield load(facts["plan"], facts["scale"])
            except MmprefError:  # gone, or no plan any more: nobody goes on with it
                continue


def _known(folder: Path) -> list[dict[str, Any]]:
    path = folder / STATE / _PLANS
    return list(json.loads(read_text(path))) if path.is_file() else []


def _facts(plan: Plan) -> dict[str, Any]:
    """A plan by its name, where a package offers it, else by its file; and its scale."""
    path = plan.path.resolve()
    offered = {file.resolve(): name for name, file in yaml_files(GROUP).items()}
    return {"plan": offered.get(path, str(path)), "scale": plan.scale}
