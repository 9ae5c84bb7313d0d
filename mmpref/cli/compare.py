"""``mmpref compare``: evaluation runs side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from mmpref.cli import common


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the table as one HTML file too.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(runs: tuple[Path, ...], html: Path | None, as_json: bool) -> None:
    """Set evaluation runs side by side, with intervals.

    \b
    Examples:
      mmpref compare runs/evaluate-pope-chair-1a2b3c4d runs/evaluate-pope-chair-5e6f7a8b
    """
    from mmpref.bench.compare import compare

    found = compare(runs)
    rows = [
        [" ".join(key).removesuffix(" all"), *("" if cell is None else _cell(cell) for cell in cells)]
        for key, cells in found.rows
    ]
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if html:
        _write_html(html, found.models, rows, found.warnings)
    common.show(dataclasses.asdict(found), as_json,
                lambda: common.print_table("value [95 % interval]", ["metric", *found.models], rows))  # fmt: skip


def _cell(cell: dict[str, Any]) -> str:
    return f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"


def _write_html(path: Path, models: tuple[str, ...], rows: list[list[str]], warnings: tuple[str, ...]) -> None:
    from mmpref.cli.report import render

    common.write_page(path, render("compare.html.j2", models=models, rows=rows, warnings=warnings))
