"""How a number with its interval, a p-value and tables of them are written: on screens, in pages and in cards."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

COUNTS_DIFFER = "Counts that differ are written base / adapter."
"""Said where `counts_text` gives several."""
NoWorse = Literal["no worse", "worse", "cannot tell"]
MOST_LOST = 0.1
"""Share of the pairs of two models up to which those that have no score of one of them leave a fair test of the
others: beyond it, which are left may hang on the answers."""
FORM = "form only"
"""The verdict on a metric most of whose answers could not be read."""
FEW_UNREAD = 0.1
"""Share of answers that could not be read up to which it is no matter."""
MOST_UNREAD = 0.5
"""Share of such answers above which a metric measures the form of answers, not what they say."""
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def is_garbled(base: float, adapter: float) -> bool:
    """Whether it is the adapter's doing, not the prompt's, that its answers cannot be read: by the shares of such
    answers of both. More than a few cannot, and most of these would not be at the base's share."""
    return adapter > max(FEW_UNREAD, 2 * base)


def decimals(value: float) -> int:
    """Places after the point that a person would give: 3 of shares and scores, 1 from 10 on, none from 1000 on."""
    return 3 if not math.isfinite(value) or abs(value) < 10 else 1 if abs(value) < 1000 else 0


def spread_texts(spread: Mapping[str, float | None], *, counts: bool = False) -> list[str]:
    """Mean, median, least and greatest as a person would give them; nothing where nothing was measured.

    Args:
        spread: ``mean``, ``median``, ``min`` and ``max``.
        counts: of things that are counted: the mean has one place, and what is whole has none. Of others all have as
            many places as the largest needs.
    """
    values = [value for name in ("mean", "median", "min", "max") if (value := spread[name]) is not None]
    if len(values) < 4:
        return []
    if counts:
        places = [min(1, decimals(values[0])), *(0 if value == round(value) else 1 for value in values[1:])]
    else:
        places = [decimals(max(map(abs, values)))] * 4
    return [fixed(value, digits) for value, digits in zip(values, places, strict=True)]


def counts_text(counts: Iterable[int]) -> str:
    """The same count of several models, each number once: ``766 / 777``."""
    return " / ".join(dict.fromkeys(map(str, counts)))


def fixed(value: float, digits: int) -> str:
    """A number to so many places, thousands apart; what is 0 to these places has no sign."""
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def rounded(value: float) -> str:
    """A number by itself, with its `decimals`."""
    return fixed(value, decimals(value))


def interval_text(value: float, low: float | None, high: float | None, *, signed: bool = False, digits: int = 3) -> str:
    """``value [low, high]``; no brackets where there is no interval, and a dash where there is no value (NaN)."""
    if not math.isfinite(value):
        return "–"
    style = f"{'+' if signed else ''}.{digits}f"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:{style}}"
    return f"{value:{style}} [{low:{style}}, {high:{style}}]"


def too_few_pairs(pairs: int, lost: int) -> bool:
    """Whether so many pairs are lost, beside those that there are, that the others allow no verdict."""
    return lost > MOST_LOST * (pairs + lost)


def direction_of(low: float | None, high: float | None, higher_is_better: bool | None) -> str:
    """Where the interval of a difference lies off 0: ``better`` or ``worse``, or ``higher`` or ``lower`` where neither
    is good; empty where 0 is inside it, or there is none."""
    if low is None or high is None or not (low > 0 or high < 0):
        return ""
    if higher_is_better is None:
        return "higher" if low > 0 else "lower"
    return "better" if (low > 0) == higher_is_better else "worse"


def verdict_of(
    low: float | None,
    high: float | None,
    higher_is_better: bool | None,
    p: float | None,
    *,
    too_few: bool = False,
) -> str:
    """What can be claimed of a difference, the same on screens and in cards: ``no clear change`` where 0 is inside the
    interval, else its direction; after ``perhaps`` where `p` is not below 0.05: corrected for all claims, where one
    is made on the metric, else its own. Of a difference that is undefined (NaN), or of pairs that are too few
    (`too_few_pairs`), ``cannot tell``."""
    if too_few or (low is not None and math.isnan(low)):
        return "cannot tell"
    direction = direction_of(low, high, higher_is_better)
    if not direction:
        return "no clear change"
    return direction if p is None or p < 0.05 else f"perhaps {direction}"


def no_worse_of(low: float, high: float, higher_is_better: bool, margin: float) -> NoWorse:
    """Of a difference, against a margin that makes none: ``no worse`` where its 95 % interval lies wholly above minus
    the margin (below the margin, where lower is better), ``worse`` where it lies wholly beyond it. Either is a test at
    2.5 %, one-sided, as far as the interval is one of 95 %."""
    worst, best = (low, high) if higher_is_better else (-high, -low)
    return "no worse" if worst > -margin else "worse" if best < -margin else "cannot tell"


def stars(p: float | None) -> str:
    """One to three stars: below 0.05, 0.01 and 0.001."""
    return next((text for level, text in _STARS if p is not None and p < level), "")


def p_value_text(p: float | None, corrected: float | None = None) -> str:
    """A p-value as a cell: the corrected one, with its stars, where there is one."""
    p = p if corrected is None else corrected
    if p is None:
        return "–"
    text = "<0.001" if p < 0.001 else f"{p:.3f}"
    return text if corrected is None else f"{text} Holm{stars(corrected)}"


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text: the first column to the left, the others to the right."""
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(cells)
        ).rstrip()
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """HTML, every cell escaped."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
