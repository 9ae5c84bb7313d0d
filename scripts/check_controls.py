"""Hold a run of `mmpref reproduce controls` against the recorded numbers, and what must hold of the controls:

    python scripts/check_controls.py FOLDER [--record]

With --record the run's numbers become the recorded ones. Prints the table, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmpref.run.results import Key
from mmpref.study import plan
from mmpref.study.effects import Effect, Effects
from mmpref.study.measurement import Ledger

RECORD = Path(__file__).with_name("controls.json")
SPLIT, BASE = "test", "base"
METRICS = {
    Key("chair", "chair_i", "all"): 0.02,
    Key("chair", "recall", "all"): 0.03,
    Key("pope", "accuracy", "all"): 0.02,
}
"""How far a number may be from the record on another machine (other sums in floating point)."""


def measured(effects: Effects) -> dict[str, dict[str, Effect]]:
    """By row and metric; of rows that are trained, the difference to the base."""
    found: dict[str, dict[str, Effect]] = {}
    for row in effects.rows(SPLIT):
        for key in METRICS:
            effect = effects.value(row, key, SPLIT) if row == BASE else effects.difference(row, BASE, key, SPLIT)
            assert effect is not None, (row, key)
            found.setdefault(row, {})[key.name] = effect
    return found


def claims(effects: Effects) -> dict[str, bool]:
    """What must hold, whatever the recorded numbers are: their tolerances are about as large as the effects."""

    def change(row: str, against: str = BASE) -> Effect:
        found = effects.difference(row, against, next(iter(METRICS)), SPLIT)
        assert found is not None, (row, against)
        return found

    controls = [row for row in effects.rows(SPLIT) if row not in (BASE, "bdhs")]
    lead = change("bdhs", "mismatched")
    return {
        "BDHS lowers CHAIR_i, and the interval excludes 0": change("bdhs").high < 0,
        "BDHS lowers it more than mismatched answers do, and the interval excludes 0": lead.high < 0,
        "no control is below BDHS by an interval that excludes 0": all(
            change(row, "bdhs").high >= 0 for row in controls
        ),
        "words in random order do not lower it": change("shuffled").value >= 0,
        "chosen and rejected swapped raise it, and the interval excludes 0": change("reversed").low > 0,
    }


def main() -> int:
    effects = Effects(plan.load("controls"), Ledger.read(Path(sys.argv[1]) / "ledger"))
    now = measured(effects)
    if "--record" in sys.argv:
        values = {row: {name: effect.value for name, effect in one.items()} for row, one in now.items()}
        RECORD.write_text(json.dumps(values, indent=2) + "\n")
    recorded = json.loads(RECORD.read_text())
    allowed = {key.name: tolerance for key, tolerance in METRICS.items()}
    wrong = len(set(recorded) ^ set(now))
    for row, one in now.items():
        for name, effect in one.items():
            off = abs(effect.value - recorded[row][name]) > allowed[name]
            wrong += off
            was = recorded[row][name]
            print(f"{'OFF ' if off else 'ok  '}{row:12} {name:20} {effect.text():24} (recorded {was:+.4f})")
    for claim, holds in claims(effects).items():
        wrong += not holds
        print(f"{'ok  ' if holds else 'OFF '}{claim}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
