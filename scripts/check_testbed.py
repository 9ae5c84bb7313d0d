"""Hold a run of `mmpref reproduce testbed` against the recorded numbers, and what must hold of it:

    python scripts/check_testbed.py RUN [--record]

With --record the run's numbers become the recorded ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmpref.run.build_report import resolved_shares

RECORD = Path(__file__).with_name("reproduce_testbed.json")
TRACKED = [
    ("base", "chair", "chair_i", 0.01),
    ("base", "chair", "recall", 0.01),
    ("base", "pope", "accuracy", 0.01),
    ("adapter", "chair", "chair_i", 0.02),
    ("adapter", "chair", "recall", 0.03),
    ("adapter", "pope", "accuracy", 0.02),
]
"""Model, benchmark, metric and how far it may be from the record on another machine (other sums in floating point)."""


RECALL_LOSS = 0.06
"""At most so much recall may be lost."""


def claims(run: Path) -> dict[str, bool]:
    """What must hold of the adapter, whatever the recorded numbers are."""
    rows = json.loads((run / "evaluate/results.json").read_text())["differences"]
    chair = {row["metric"]: row for row in rows if row["benchmark"] == "chair" and row["split"] == "all"}
    return {
        "CHAIR_i is lower, and the interval of the paired difference excludes 0": chair["chair_i"]["high"] < 0,
        f"recall falls by at most {RECALL_LOSS}": chair["recall"]["value"] >= -RECALL_LOSS,
    }


def measured(run: Path) -> dict[str, float]:
    """The tracked numbers of a run, and the number of pairs."""
    results = json.loads((run / "evaluate/results.json").read_text())["results"]
    found = {
        f"{row['model']} {row['benchmark']} {row['metric']}": row["value"] for row in results if row["split"] == "all"
    }
    numbers = {f"{m} {b} {name}": found[f"{m} {b} {name}"] for m, b, name, _ in TRACKED}
    report = json.loads((run / "build-dataset/report.json").read_text())
    return {**numbers, "pairs": report["rows"], "share resolved in try 1": resolved_shares(report)[0]}


def main() -> int:
    run = Path(sys.argv[1])
    now = measured(run)
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps(now, indent=2) + "\n")
    recorded = json.loads(RECORD.read_text())
    allowed = {f"{m} {b} {name}": tolerance for m, b, name, tolerance in TRACKED}
    allowed |= {"pairs": 0.05 * recorded["pairs"], "share resolved in try 1": 0.05}
    wrong = 0
    for name, value in now.items():
        off = abs(value - recorded[name]) > allowed[name]
        wrong += off
        print(f"{'OFF ' if off else 'ok  '}{name}: {value:.4f} (recorded {recorded[name]:.4f} +- {allowed[name]:.3f})")
    for claim, holds in claims(run).items():
        wrong += not holds
        print(f"{'ok  ' if holds else 'OFF '}{claim}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
