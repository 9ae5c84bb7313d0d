"""Keep what a study has measured in the repository: python scripts/record_study.py NAME RUN.

Copies the ledger of RUN, where `mmpref reproduce NAME --output RUN` has written it, into model_cards/NAME/ledger,
beside measurements that are there, and writes the page of it all, model_cards/NAME/README.md.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from mmpref.cli.pages.study import markdown
from mmpref.study.conclude import conclude
from mmpref.study.measurement import Ledger
from mmpref.study.plan import load

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a study of `mmpref list studies`")
    parser.add_argument("run", type=Path, help="its output folder")
    args = parser.parse_args()
    page = ROOT / "model_cards" / args.name / "README.md"
    ledger = Ledger(page.parent / "ledger")
    shutil.copytree(args.run / "ledger", ledger.folder, dirs_exist_ok=True)
    conclusions = conclude(load(args.name), Ledger.read(ledger.folder), ledger.failures())
    page.write_text(markdown(conclusions), encoding="utf-8")
    print(f"{page}: {conclusions.runs[0]} of {conclusions.runs[1]} runs")


if __name__ == "__main__":
    main()
