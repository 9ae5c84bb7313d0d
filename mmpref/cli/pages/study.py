"""What a study has come to, as one HTML file without network and as Markdown: verdicts, then what they rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpref.cli.pages.html import data_url, figure_png, render
from mmpref.cli.pages.study_figures import families, forests, frontiers, leads
from mmpref.cli.pages.study_scenes import Scene, scenes_of
from mmpref.cli.pages.study_tables import (
    BESIDE,
    OTHERS,
    TRAINED,
    fact_lines,
    grid_lines,
    markdown_sections,
    number,
    paper_remarks,
)
from mmpref.hub.cards.markdown import table as markdown_table
from mmpref.hub.cards.markdown import text as escaped
from mmpref.log import counted
from mmpref.run.asked import TRAINED_ON, TRAINED_ON_MEANS
from mmpref.run.files import write_atomic
from mmpref.run.results_text import p_value_text
from mmpref.study.claims import Compared, Verdict
from mmpref.study.conclude import FACTS, TRAINING, Concluded, Conclusions, conclude
from mmpref.study.effects import Effect
from mmpref.study.lead_curves import LeadCurve
from mmpref.study.plan_types import Plan

HTML, MARKDOWN = "study.html", "study.md"
FIGURE = "rows-{}.png"
"""Files of the figures that the Markdown shows, by their number."""
FAMILIES = "Rows that differ in a setting"
RULE = (
    "A claim holds here where its 95 % interval lies wholly where the claim has it, does not where the interval lies "
    "wholly outside (or is too small to matter, where a margin is given), and cannot be told else. Where one of "
    "several effects decides, it must be clear at 5 % divided by their number. p is two-sided; Holm's correction is "
    "over all claims of the study that were run, and what it takes back is called uncorrected."
)
SO_FAR = (
    " A verdict so far, and its p, allow for one look and not for many: whoever looks again after every run, and stops "
    "where a claim is clear, finds more clear ones than there are. The verdict to go by is that of all runs."
)
VALUES = (
    "Each value, over the bases that the row was run on; in brackets the difference from the base on these, with its "
    "95 % interval, bold where that excludes 0. They are not corrected for how many there are."
)
_NAMES = {"holds": "holds here"}
_CSS = {"holds": "holds", "does not hold": "fails", "cannot be told": "open", "not run": "missing"}


def write_page(plan: Plan, folder: Path) -> Path:
    """Write ``study.html`` and ``study.md`` of what a study has measured so far, whichever rows were wanted last.

    Args:
        folder: of the study.

    Returns:
        The path of the page.
    """
    from mmpref.study.schedule import Schedule

    schedule = Schedule(plan, folder, list(plan.rows))
    conclusions = conclude(plan, schedule.measured(), schedule.ledger.failures())
    return write_study(conclusions, folder, *scenes_of(schedule))


def write_study(conclusions: Conclusions, folder: Path, scenes: Sequence[Scene] = (), scenes_title: str = "") -> Path:
    """Write ``study.html`` and ``study.md``, with its figures, into a study's folder.

    Args:
        scenes: to look at.
        scenes_title: whose they are.

    Returns:
        The path of the page.
    """
    write_markdown(conclusions, folder / MARKDOWN)
    write_atomic(folder / HTML, page(conclusions, scenes, scenes_title))
    return folder / HTML


def write_markdown(conclusions: Conclusions, path: Path) -> None:
    """Write the Markdown of a study, and beside it the figures that it shows; such as were there before go."""
    for old in path.parent.glob(FIGURE.format("*")):
        old.unlink()
    for place, (_, figure) in enumerate(families(conclusions), 1):
        write_atomic(path.with_name(FIGURE.format(place)), figure_png(figure))
    write_atomic(path, markdown(conclusions))


def page(conclusions: Conclusions, scenes: Sequence[Scene] = (), scenes_title: str = "") -> str:
    """The page of a study."""
    plots = [
        ("Where it pays: the lead against what worlds differ in", leads(conclusions.leads)),
        ("Rows against the base", [figure for table in conclusions.tables[:1] for figure in forests(table)]),
        (FAMILIES, families(conclusions)),
        ("What it costs: the frontier against KL from the base", frontiers(conclusions)),
    ]
    grids = conclusions.grids
    return render(
        "study.html.j2",
        plan=conclusions.plan,
        command=_command(conclusions.plan),
        runs=conclusions.runs,
        failures=conclusions.failures,
        unmeasured=[curve.lead.title for curve in conclusions.leads if not curve.known],
        warnings=conclusions.warnings,
        claims=[_claim(one) for one in conclusions.claims],
        rule=_rule(conclusions),
        plots=[
            (heading, [{"title": title, "image": data_url(figure_png(figure))} for title, figure in figures])
            for heading, figures in plots
        ],
        tables=conclusions.tables,
        scenes=scenes,
        scenes_title=scenes_title,
        grids=[line for grid in grids for line in grid_lines(grid)],
        grid_split=", ".join(dict.fromkeys(grid.grid.split for grid in grids)),
        grid_best=", ".join(dict.fromkeys(grid.grid.best for grid in grids)),
        grid_keep=", ".join(dict.fromkeys(grid.grid.keep for grid in grids if grid.grid.keep)),
        facts=[
            (title, *fact_lines(names, facts))
            for title, names, facts in (
                ("The data of each row", FACTS, conclusions.facts),
                (TRAINED, TRAINING, conclusions.training),
            )
            if facts
        ],
        paper=conclusions.paper,
        paper_title=BESIDE,
        paper_remarks=[OTHERS, *paper_remarks(conclusions.paper)] if conclusions.paper else [],
    )


def markdown(conclusions: Conclusions) -> str:
    """Verdicts, the main table, and what stands behind it."""
    plan = conclusions.plan
    parts = [f"# {escaped(plan.title)}"]
    if plan.note:
        parts.append(escaped(plan.note))
    failed = f"; {len(conclusions.failures)} failed" if conclusions.failures else ""
    parts.append(
        f"{conclusions.runs[0]} of {conclusions.runs[1]} runs are measured, by "
        f"<code>{escaped(_command(plan))}</code>{failed}."
    )
    parts += [f"**Warning.** {escaped(warning)}" for warning in conclusions.warnings]
    if conclusions.claims:
        rows = [
            [
                f"{escaped(one.verdict.claim.id)}. {escaped(one.verdict.claim.says)}",
                f"**{_outcome(one)}**",
                "<br>".join(escaped(_withnumber(effect)) for effect in _effects(one)),
                escaped(_p(one.verdict)) or "–",
            ]
            for one in conclusions.claims
        ]
        parts += ["## Verdicts", markdown_table(["claim", "verdict", "effect [95 % interval]", "p"], rows)]
        parts.append(_rule(conclusions))
    for curve in conclusions.leads:
        parts += _lead(curve)
    for table in conclusions.tables:
        columns = ["row", "over", *(escaped(key.name) for key in table.keys), "KL"]
        rows = [
            [escaped(line.row), line.over, *map(_cell, line.values, line.changes), number(line.kl)]
            for line in table.lines
        ]
        parts += [f"## On {escaped(table.split)}", markdown_table(columns, rows)]
    parts += [VALUES] if conclusions.tables else []
    if figures := families(conclusions):
        parts.append(f"## {FAMILIES}")
        parts += [f"![{escaped(title)}]({FIGURE.format(place)})" for place, (title, _) in enumerate(figures, 1)]
    parts += markdown_sections(conclusions)
    return "\n\n".join(parts) + "\n"


def _lead(curve: LeadCurve) -> list[str]:
    lead = curve.lead
    rows = [
        [
            escaped(point.world),
            f"{point.place.value:.3g}" if point.place else "–",
            escaped(f"{point.effect.text()} ({_over(point.effect)})") if point.effect else "not measured",
        ]
        for point in curve.points
    ]
    columns = ["world", escaped(lead.axis), f"{escaped(lead.row)} less {escaped(lead.against)}, {escaped(lead.metric)}"]
    return [f"## {escaped(lead.title)}", markdown_table(columns, rows)]


def _command(plan: Plan) -> str:
    """What makes the study; of a plan in a file the file's name, wherever it lies."""
    return f"mmpref reproduce {Path(plan.name).name}" + (f" --scale {plan.scale}" if plan.scale else "")


def _cell(value: Effect | None, change: Effect | None) -> str:
    if value is None or math.isnan(value.value):
        return "–"
    if change is None or math.isnan(change.value):
        return f"{value.value:.3f}" + (f" {TRAINED_ON}" if value.trained_on else "")
    difference = escaped(change.text())
    return f"{value.value:.3f} ({f'**{difference}**' if change.off_zero else difference})"


def _claim(one: Concluded) -> dict[str, Any]:
    claim = one.verdict.claim
    return {
        "id": claim.id,
        "says": claim.says,
        "where": claim.where,
        "paper": claim.paper,
        "outcome": _outcome(one),
        "css": "open" if one.trained_on else _CSS[one.verdict.outcome],
        "effects": _effects(one),
        "p": _p(one.verdict),
    }


def _is_so_far(one: Concluded) -> bool:
    return not one.is_final and any(one.effects)


def _outcome(one: Concluded) -> str:
    """The verdict, whether Holm's correction leaves it, and how much is still to come that may change it."""
    name = _NAMES.get(one.verdict.outcome, one.verdict.outcome)
    if one.verdict.corrected != one.verdict.outcome:
        name += ", uncorrected"
    if one.trained_on:
        name += f" {TRAINED_ON}"
    if not _is_so_far(one):
        return name
    return f"{name} so far ({counted(one.left, 'run')} to come)"


def _rule(conclusions: Conclusions) -> str:
    """How verdicts are to be read."""
    seen = f" {TRAINED_ON_MEANS}" if any(one.trained_on for one in conclusions.claims) else ""
    return RULE + (SO_FAR if any(_is_so_far(one) for one in conclusions.claims) else "") + seen


def _effects(one: Concluded) -> list[dict[str, str]]:
    """What each effect of a claim came to, and over how much."""
    need = " or" if one.verdict.claim.need == "any" else ""
    lines = []
    for index, (compared, effect) in enumerate(zip(one.verdict.claim.effects, one.effects, strict=True)):
        joined = need if index + 1 < len(one.effects) else ""
        small = ", which is small" if one.verdict.readings[index].small else ""
        value = f"{effect.text()}{small}" if effect else "not measured"
        lines.append({"text": f"{_said(compared)}: {value}{joined}", "number": _over(effect) if effect else ""})
    return lines


def _withnumber(effect: dict[str, str]) -> str:
    return f"{effect['text']} ({effect['number']})" if effect["number"] else effect["text"]


def _said(compared: Compared) -> str:
    margin = f" (margin {compared.margin:g})" if compared.margin else ""
    return (
        f"{compared.row} against {compared.against or 'the base'}, {compared.key.name} on {compared.split}, "
        f"claimed {compared.direction}{margin}"
    )


def _over(effect: Effect) -> str:
    low, high = effect.base_range
    spread = f", bases {low:+.3f} to {high:+.3f}" if len(effect.bases) > 1 else f", {effect.scope}"
    return f"{effect.number}{spread}"


def _p(verdict: Verdict) -> str:
    if verdict.p_holm is None:
        return ""
    after = "" if verdict.corrected == verdict.outcome else f": {verdict.corrected} after the correction"
    return f"p {p_value_text(verdict.p)}, {p_value_text(verdict.p, verdict.p_holm)}{after}"
