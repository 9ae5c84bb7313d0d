"""What a study says of its rows beside one: python scripts/study_effects.py NAME METRIC [ROW] [--split test].

Of every row of the plan: the metric less ROW's (the base's by default) with its 95 % interval, `*` where that excludes
0, the mean on each base, and the standard deviation over training seeds on each. Of the ledger in model_cards/NAME. So
docs/studies.md has what no claim of a plan is about, such as

    python scripts/study_effects.py rivals "chair chair_i" bdhs
    python scripts/study_effects.py ablation "mme accuracy position"
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import stdev

from mmpref.run.results import Key
from mmpref.study.effects import Effects
from mmpref.study.measurement import Ledger
from mmpref.study.plan import load

ROOT = Path(__file__).parents[1]


def seed_deviations(effects: Effects, row: str, split: str, metric: str) -> list[float]:
    """On each base that has several runs."""
    by_base: dict[int, list[float]] = {}
    for run in effects.runs(row, split):
        if value := run.value(metric):
            by_base.setdefault(run.base, []).append(value.value)
    return [stdev(values) for _, values in sorted(by_base.items()) if len(values) > 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a study of `mmpref list studies`")
    parser.add_argument("metric", help="such as 'chair chair_i'")
    parser.add_argument("row", nargs="?", default="base", help="that others are set against")
    parser.add_argument("--split", default="test", help="an evaluation of the plan")
    args = parser.parse_args()
    plan = load(args.name)
    effects = Effects(plan, Ledger.read(ROOT / "model_cards" / args.name / "ledger"))
    for row in plan.rows:
        if row == args.row or not (found := effects.difference(row, args.row, Key.of(args.metric), args.split)):
            continue
        each = ", ".join(f"{mean:+.3f}" for mean in found.estimate.of_units) if len(found.bases) > 1 else ""
        seeds = ", ".join(f"{one:.3f}" for one in seed_deviations(effects, row, args.split, args.metric))
        print(f"{row:16} {found.text()}{' *' if found.off_zero else '':2}  {each}" + (f"  SD {seeds}" if seeds else ""))


if __name__ == "__main__":
    main()
