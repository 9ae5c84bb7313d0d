"""Keep what a study has measured in the repository: python scripts/record_study.py NAME RUN.

Copies the ledger of RUN, where `mmpref reproduce NAME --output RUN` has written it, into model_cards/NAME/ledger,
beside measurements that are there, with the bases that it has trained, which another machine would not train alike, and
writes the page of it all, model_cards/NAME/README.md, with its figures. The first, effects.png, has a digest of what is
drawn in it, so that a test finds a picture of another ledger. It is of the plan as it
stands: measurements by other recipes are named, and there is no page until they are gone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from mmpref.cli.pages.html import figure_png
from mmpref.cli.pages.study import write_markdown
from mmpref.cli.pages.study_figures import forests
from mmpref.study.conclude import Conclusions, conclude
from mmpref.study.measurement import Ledger
from mmpref.study.plan import load
from mmpref.study.schedule import Schedule

ROOT = Path(__file__).parents[1]
PICTURE = "effects.png"
DRAWN = "mmpref:drawn"
"""The digest's name in the picture."""


def write_page(conclusions: Conclusions, page: Path) -> None:
    """The page with its figures, and beside it the first one of the HTML, with its digest."""
    write_markdown(conclusions, page)
    if figure := first_figure(conclusions):
        page.with_name(PICTURE).write_bytes(figure_png(figure, {DRAWN: drawn(figure)}))


def first_figure(conclusions: Conclusions) -> Any:
    """Every row against the base, by the first metric; None where nothing is measured."""
    return next((figure for table in conclusions.tables[:1] for _, figure in forests(table)), None)


def drawn(figure: Any) -> str:
    """A digest of what a figure shows: its words, and its lines to four digits, which all processors agree on."""
    [axes] = figure.axes
    words = [axes.get_xlabel(), *(label.get_text() for label in axes.get_yticklabels())]
    lines = [
        (line.get_color(), [[round(float(place), 4) + 0.0 for place in places] for places in line.get_data()])
        for line in axes.lines
    ]
    return hashlib.sha256(json.dumps([words, lines]).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a study of `mmpref list studies`")
    parser.add_argument("run", type=Path, help="its output folder")
    args = parser.parse_args()
    page = ROOT / "model_cards" / args.name / "README.md"
    ledger = Ledger(page.parent / "ledger")
    plan, run = load(args.name), Ledger(args.run / "ledger")
    here, there = ledger.bases(), run.bases()
    if others := sorted(name for name in here.keys() & there.keys() if here[name] != there[name]):
        sys.exit(f"{args.run} has other weights of {', '.join(others)} than {ledger.folder} has measurements of.")
    ledger.take(run)
    for name in there:
        if (args.run / "bases" / name).is_dir():  # a run that goes on from a ledger alone may not need it
            shutil.copytree(args.run / "bases" / name, page.parent / "bases" / name, dirs_exist_ok=True)
    if stale := Schedule(plan, page.parent, list(plan.rows)).stale():
        sys.exit(f"{ledger.folder} has what {plan.path} does not give: {', '.join(one.name for one in stale)}.")
    conclusions = conclude(plan, Ledger.read(ledger.folder), ledger.failures())
    write_page(conclusions, page)
    print(f"{page}: {conclusions.runs[0]} of {conclusions.runs[1]} runs")


if __name__ == "__main__":
    main()
