"""``mmpref power``: how many images a comparison needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli import common
from mmpref.cli.format import print_table, print_text

if TYPE_CHECKING:
    from mmpref.bench.power import Spread

FEW = 20
"""Changed answers below which a plan says that they are few."""
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.argument("runs", nargs=-1, type=common.UserPath(path_type=Path))
@click.option(
    "--difference",
    type=click.FloatRange(0, min_open=True),
    default=0.02,
    show_default=True,
    help="What is to be seen, in the metric's units: 0.02 are two points of a share.",
)
@click.option("--power", type=_SHARE, default=0.8, show_default=True, help="The chance that it is seen.")
@click.option("--rate", type=_SHARE, help="Without runs: the share of right answers, of both models about.")
@click.option(
    "--changed",
    type=_SHARE,
    help="The share of answers that are right of one model alone. [default: of models that are unrelated]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    runs: tuple[Path, ...], difference: float, power: float, rate: float | None, changed: float | None, as_json: bool
) -> None:
    """Tell how many images it takes to see a difference: by a former evaluation's answers, or by assumed rates.

    \b
    Examples:
      mmpref power --rate 0.85 --changed 0.1
      mmpref power runs/evaluate-pope-chair-1a2b3c4d --difference 0.01
    """
    from mmpref.bench.power import assumed, spreads
    from mmpref.errors import UsageError

    if bool(runs) == (rate is not None):
        raise UsageError(
            "The power is that of former evaluations, or of assumed rates.", "Name runs, or use --rate and --changed."
        )
    if changed is not None and rate is None:
        raise UsageError("--changed goes with --rate.", "Leave it out: the runs know how many answers changed.")
    found = [assumed(rate, changed, difference)] if rate is not None else spreads(runs)
    rows = [_facts(spread, difference, power) for spread in found]
    result = {"difference": difference, "power": power, "rows": rows}
    common.show(result, as_json, lambda: _print(found, rows, difference, power))


def _facts(spread: Spread, difference: float, power: float) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if spread.images:
        known = {
            "images": spread.images,
            "power_of_these": spread.power_of(spread.images, difference),
            "these_see": spread.smallest_difference(spread.images, power),
        }
    if spread.samples:
        known |= {"answers": spread.samples, "answers_changed": spread.samples_changed}
    return {
        "metric": spread.key.name if spread.key else "share of right answers",
        "of": spread.of,
        "needed": spread.images_needed(difference, power),
        "unit": spread.unit,
        "bound": spread.bound,
        **known,
    }


def _print(found: Sequence[Spread], rows: Sequence[dict[str, Any]], difference: float, power: float) -> None:
    units = {row["unit"] for row in rows}
    unit = units.pop() if len(units) == 1 else ""  # of several, each number says which
    columns = ["metric", "of", f"{unit} needed".lstrip()]
    cells = [[row["metric"], row["of"], _count(row, "needed", unit)] for row in rows]
    if any(spread.images for spread in found):
        columns += [f"{unit} there".lstrip(), f"see {difference:g} with", f"see with {power:.0%}"]
        for line, row in zip(cells, rows, strict=True):
            line += [_count(row, "images", unit), f"{row['power_of_these']:.0%}", f"{row['these_see']:.3g}"]
    print_table(f"to see a difference of {difference:g} with a chance of {power:.0%}", columns, cells, breaks=(1,))
    print_text(
        "Seen: the 95 % interval of the paired difference excludes 0, and p is below 0.05. As many images show of a "
        f"model that changes nothing that it is no worse than {difference:g}."
    )
    if any(spread.samples for spread in found):
        print_text(_changed(found))
    if any(row["bound"] for row in rows):
        print_text("At most: two models are taken as unrelated. An adapter and its base agree more, and need fewer.")
    if not any(spread.images for spread in found):
        print_text(
            "One question an image: where an image has several, count images by a former evaluation. Where a metric is "
            "a share of groups, such as NaturalBench's g_acc, give the rate of groups, and groups are what is counted."
        )


def _changed(found: Sequence[Spread]) -> str:
    """How many answers differ, which is what all else rests on."""
    several = len({spread.of for spread in found}) > 1
    counts = [
        f"{spread.key.name}{f' ({spread.of})' if several else ''} {spread.samples_changed} of {spread.samples}"
        for spread in found
        if spread.key and spread.samples
    ]
    few = " Few of them say little: another run may well change more, and need more images."
    said = few if any(0 < spread.samples_changed < FEW for spread in found) else ""
    return f"Answers that count otherwise of the second model: {', '.join(counts)}.{said}"


def _count(row: Mapping[str, Any], name: str, unit: str) -> str:
    """A number of a row.

    Args:
        unit: that the column says; "" where the number must.
    """
    bound = " at most" if name == "needed" and row["bound"] else ""
    return f"{row[name]}{'' if unit else ' ' + row['unit']}{bound}"
