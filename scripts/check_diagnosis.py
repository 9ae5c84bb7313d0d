"""Does `mmpref inspect --model` tell where BDHS pays? python scripts/check_diagnosis.py [--rows 200] [--json FILE].

The diagnosis of every base that `study` (a bias that runs through the image) and `text-first` (one that runs through
the text before) have aligned, beside what BDHS changed there, from the recorded ledgers: CHAIR_i on test against the
base and against mismatched answers, means over training seeds. Below 0 BDHS is ahead. `scripts/readme_tables.py` puts
the file into docs/studies.md. Bases are few and of one making: they can refute the diagnosis, not prove it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmpref
from mmpref.run.results import Key
from mmpref.study.effects import Effects
from mmpref.study.measurement import Ledger
from mmpref.study.plan import load

ROOT = Path(__file__).parents[1]
STUDIES = ("study", "text-first")
OWN = {"study": {0: "pkg:mmpref.testbed/model"}}
"""By study and seed, bases that lie elsewhere."""
SYNONYMS = "pkg:mmpref.testbed/synonyms.txt"
KEPT = ("measured", "gist", "text", "gist_share", "conclusion")


def bases(study: str) -> dict[int, str]:
    """By seed, the folders of a study's bases."""
    folders = (ROOT / "model_cards" / study / "bases").iterdir()
    return {**{int(one.name.split("-")[0]): str(one) for one in folders}, **OWN.get(study, {})}


def changes(effects: Effects, against: str) -> dict[int, float]:
    """By seed of a base, BDHS's CHAIR_i on test less another row's."""
    found = effects.difference("bdhs", against, Key.of("chair chair_i"), "test")
    return dict(zip(found.bases, found.estimate.of_units, strict=True)) if found else {}


def measured(rows: int) -> Iterator[dict[str, Any]]:
    for study in STUDIES:
        effects = Effects(load(study), Ledger.read(ROOT / "model_cards" / study / "ledger"))
        against_base, lead = changes(effects, "base"), changes(effects, "mismatched")
        for seed, model in sorted(bases(study).items()):
            found = mmpref.inspect(model=model, source="testbed", synonyms=SYNONYMS, rows=rows, progress=False).report
            told = {name: found[name] for name in KEPT}
            yield {"study": study, "base": seed, **told, "bdhs": against_base[seed], "lead": lead[seed]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200, help="of the testbed that each model is asked about")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    found = []
    for one in measured(args.rows):
        found.append(one)
        print(json.dumps(one), flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
