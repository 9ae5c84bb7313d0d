"""Evaluation results in a model card: the table between marker comments, with what it was measured on.

The block carries its rows as JSON in a comment, so that results of several evaluation runs end up in one table.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.hub.cards.markdown import clip, code, hidden, remark, table, text
from mmpref.hub.cards.merge import BEGIN, END, find_block
from mmpref.log import counted
from mmpref.run.asked import Asked
from mmpref.run.results import ALL, BASE, Difference, Key, Results, Value
from mmpref.run.results_text import COUNTS_DIFFER, decimals, interval_text, is_garbled, stars
from mmpref.run.sample_sizes import PAIRED, intervals_over
from mmpref.run.verdict import lost_text
from mmpref.text_files import NOT_JSON

_DATA = re.compile(r"<!-- mmpref:results:data (.*?) -->")
_ARROWS = {True: " ↑", False: " ↓", None: ""}
_LEGEND = (
    r" Headline metrics are tested, and corrected over the benchmarks of their run by Holm's method: \* below 0.05, "
    r"\*\* below 0.01, \*\*\* below 0.001, n.s. not significant."
)
_COMPARED, _ALONE = ("base", "adapter", "difference"), ("this model",)
"""Columns of the table: of an adapter with its base, and of a whole model, which was evaluated as a base."""
_PAIRED = f"; the difference is adapter minus base, {PAIRED}"
_CHOSE, _TRAINED_ON = " †", " ‡"
_SEEN = "‡ On images that the adapter was trained on: see below."
_SETTING = 200
"""Characters that a card shows of one setting."""
Interval = tuple[float, float | None, float | None]


@dataclass(frozen=True)
class Line:
    """One metric of one part of a benchmark: values as (value, low, high), the interval at 95 %.

    Args:
        benchmark: its name where it is the published one; else that of the data (`Asked.title`).
        split: the part of its questions, of the data's split.
        p: of the difference, corrected for several benchmarks, where a claim is made on the metric.
        headline: claims are made on the metric.
        own_p: of the difference of a metric that no claim is made on; None in a card of before.
        asked: what it was measured on; None in a card of before.
        images, unit: over how many images its interval is, and what they are called; 0 in a card of before.
        is_form: most answers could not be read: it measures their form, not what they say.
        missing: samples that the line is not over, as one model or both have no score of them.
        pairs, lost: of the difference (`mmpref.run.results.Difference`).
        unread: shares of the answers of base and adapter that could not be read, where any could.
        base_n: of the base, where that of the adapter is another; 0 where it is not, and in a card of before.
    """

    benchmark: str
    split: str
    metric: str
    higher_is_better: bool | None
    n: int
    base: Interval | None
    adapter: Interval | None
    difference: Interval | None
    parse_failures: int
    missing: int
    p: float | None = None
    headline: bool = False
    asked: Asked | None = None
    images: int = 0
    unit: str = "images"
    is_form: bool = False
    pairs: int = 0
    lost: int = 0
    own_p: float | None = None
    unread: tuple[float, float] | None = None
    base_n: int = 0

    @property
    def is_garbled(self) -> bool:
        """Whether it is the adapter that garbles answers, as `mmpref.run.results_text.is_garbled` has it."""
        return self.unread is not None and is_garbled(*self.unread)

    @property
    def is_trained_on(self) -> bool:
        """Whether some of its images are among those that the adapter was trained on."""
        return self.asked is not None and bool(self.asked.trained_on)

    @property
    def key(self) -> Key:
        return Key(self.benchmark, self.metric, self.split)

    @property
    def name(self) -> str:
        """Benchmark, part and metric, as Markdown."""
        return f"{self.place}, {text(self.metric)}"

    @property
    def place(self) -> str:
        """The benchmark, and the part of its questions where that is not all of them, as Markdown."""
        return text(self.benchmark) if self.split == ALL else f"{text(self.benchmark)} ({text(self.split)})"

    def cell(self, interval: Interval | None, *, signed: bool = False) -> str:
        """A value or the difference, with as many places as the base's value has, or else the adapter's."""
        value = self.base or self.adapter
        if interval is None or value is None:
            return "–"
        return interval_text(*interval, signed=signed, digits=decimals(value[0]))


def lines_of(results: Results) -> list[Line]:
    """Base and adapter side by side, in the order of the results."""
    base, differences = results.by_key(BASE), results.differences_by_key()
    adapter = {value.key: value for value in results.values if value.model != BASE}
    lines = []
    for key in dict.fromkeys(value.key for value in results.values):
        sides = [value for value in (base.get(key), adapter.get(key)) if value]
        difference, asked = differences.get(key), results.asked_of(sides[-1])
        lines.append(
            Line(
                asked.title,
                key.part,
                key.metric,
                sides[-1].higher_is_better,
                sides[-1].n,
                _interval(base.get(key)),
                _interval(adapter.get(key)),
                _interval(difference),
                sum(value.parse_failures for value in sides),
                max(value.missing for value in sides),
                difference.p_holm if difference else None,
                sides[-1].headline,
                asked,
                sides[-1].images,
                sides[-1].unit,
                difference.is_form if difference else any(value.is_form for value in sides),
                difference.pairs if difference else 0,
                difference.lost if difference else 0,
                difference.p if difference and difference.p_holm is None else None,
                (sides[0].unread_share, sides[1].unread_share)
                if len(sides) > 1 and any(value.unread_share for value in sides)
                else None,
                sides[0].n if sides[0].n != sides[-1].n else 0,
            )
        )
    return lines


def merged_lines(old: Sequence[Line], new: Sequence[Line]) -> list[Line]:
    """Both; of the same benchmark, split and metric the new ones. Of a benchmark that was measured anew on other
    samples or with other settings no old line stays: what the card says of the data would not be true of it. What a
    card of before called by a benchmark's name, whatever the data, gives way to what is measured by its rule now."""
    replaced = {(line.asked.label, line.split, line.metric) for line in new if line.asked}
    measured = {line.benchmark: measured_on(line) for line in new}
    kept = [
        line
        for line in old
        if measured_on(line) == measured.get(line.benchmark, measured_on(line))
        and (line.asked or (line.benchmark, line.split, line.metric) not in replaced)
    ]
    return list({line.key: line for line in [*kept, *new]}.values())


def measured_on(line: Line) -> tuple[Any, ...] | None:
    """Which questions a line is of, and how they were asked; None where that was not recorded."""
    asked = line.asked
    return None if asked is None else (asked.samples or asked.data.get("fingerprint"), asked.changed)


def _interval(estimate: Value | Difference | None) -> Interval | None:
    """None where the metric is undefined (no sample, or a ratio over nothing)."""
    if estimate is None or not math.isfinite(estimate.value):
        return None
    low, high = (end if math.isfinite(end) else None for end in (estimate.low, estimate.high))
    return estimate.value, low, high


def results_block(lines: Sequence[Line]) -> str:
    """The marked block with the table; it says so where nothing was evaluated."""
    if not lines:
        return f"{BEGIN}\n## Results\n\nNot evaluated yet.\n{END}"
    asked = {title: of.as_dict() for title, of in _asked(lines).items()}
    data = hidden("results:data", {"asked": asked, "lines": [_row(line) for line in lines]})
    return f"{BEGIN}\n{data}\n## Results\n\n{results_text(lines)}\n{END}"


def _asked(lines: Sequence[Line]) -> dict[str, Asked]:
    return {line.benchmark: line.asked for line in lines if line.asked}


def results_text(lines: Sequence[Line]) -> str:
    """The table, with what it was measured on, as Markdown that no later publishing reads."""
    compared = any(line.adapter for line in lines)
    rows = [
        [
            f"{line.name}{_ARROWS[line.higher_is_better]}{_marks(line)}",
            line.cell(line.base),
            *([line.cell(line.adapter), line.cell(line.difference, signed=True) + _stars(line.p)] if compared else []),
            (f"{line.base_n:,} / " if line.base_n else "") + f"{line.n:,}",
        ]
        for line in lines
    ]
    both, either = (" of both models together", " of one model or both") if compared else ("", "")
    notes = [
        f"* {line.name}: {counted(line.parse_failures, 'answer')}{both} could not be parsed, "
        f"{counted(line.missing, 'sample is', 'samples are')} missing{either}."
        for line in lines
        if line.parse_failures or line.missing
    ]
    first = _first_of_each(lines)
    lost = [f"* {lost_text(text(line.benchmark), line.pairs, line.lost)}" for line in first if line.lost]
    asked = _asked(lines)
    chosen = [f"† {_chose_text(title, of, of.chose)}" for title, of in asked.items() if of.chose]
    parts = [
        f"In brackets: 95 % bootstrap intervals{_PAIRED if compared else ''}. ↑ higher is better, ↓ lower is better."
        + (_LEGEND if any(line.p is not None for line in lines) else ""),
        table(("benchmark (part), metric", *(_COMPARED if compared else _ALONE), "n"), rows),
        *([COUNTS_DIFFER] if any(line.base_n for line in lines) else []),
        *filter(None, [text(intervals_over(lines))]),
        *chosen,
        *([_SEEN] if any(line.is_trained_on for line in lines) else []),
        *(["\n".join(lost)] if lost else []),
        *(["\n".join(notes)] if notes else []),
        *asked_parts(asked),
        *_unrecorded({line.benchmark for line in lines if not line.asked}),
    ]
    return "\n\n".join(parts)


def _marks(line: Line) -> str:
    chose = _CHOSE if line.asked and line.asked.chose else ""
    return chose + (_TRAINED_ON if line.is_trained_on else "")


def _first_of_each(lines: Sequence[Line]) -> list[Line]:
    """One line of every benchmark, by which its pairs are told."""
    return list({line.benchmark: line for line in reversed(lines)}.values())[::-1]


def asked_parts(asked: Mapping[str, Asked]) -> list[str]:
    """What was measured on what, by title: only the published data, asked as published, go by a benchmark's name."""
    rows = [
        (
            text(title),
            code(of.own_name or "not recorded"),
            _count(of.questions),
            _count(of.images),
            text(of.split or "–"),
            code(of.revision),
            _changed_text(of),
        )
        for title, of in asked.items()
    ]
    columns = ("measured on", "data", "questions", "images", "split", "commit or hash of files", "settings that differ")
    parts = [table(columns, rows, texts=(1, 4, 5, 6))] if rows else []
    if remarks := dict.fromkeys(f"* {remark(said)}" for of in asked.values() for said in of.remarks):
        parts.append("\n".join(remarks))
    if any(not of.official for of in asked.values()):
        parts.append(
            "“Scored like” a benchmark is not that benchmark: the data, the questions or the settings are others than "
            "the published ones, and the numbers cannot be compared with published ones."
        )
    served = dict.fromkeys(tuple(of.served.items()) for of in asked.values() if of.served)
    parts += [
        _served_text([title for title, of in asked.items() if of.served == dict(names)], names) for names in served
    ]
    return parts


def _served_text(titles: Sequence[str], names: Iterable[tuple[str, str]]) -> str:
    """Whose answers a server gave, and what it calls them."""
    models = " and ".join(f"the {model} {code(name)}" for model, name in names)
    return f"Answers to {', '.join(map(text, titles))} came from a server, which calls {models}."


def _unrecorded(names: set[str]) -> list[str]:
    return [f"On which data {text(name)} was measured, was not recorded." for name in sorted(names)]


def _count(number: int) -> str:
    return f"{number:,}" if number else "–"


def _changed_text(asked: Asked) -> str:
    if asked.changed is None:
        return "not recorded"
    shown = (f"{name}: {clip(json.dumps(value), _SETTING)}" for name, value in asked.changed.items())
    return code(", ".join(shown)) if asked.changed else "none"


def _chose_text(title: str, asked: Asked, chose: Mapping[str, Any]) -> str:
    shared = chose.get("shared", asked.questions)
    data = "the data" if shared == asked.questions else f"{text(shared)} of the {asked.questions:,} questions"
    return (
        f"On {data} of {text(title)}, the step that is kept of the adapter (step {text(chose.get('step'))}) was "
        f"chosen by {text(chose.get('metric'))}: its values there are too good, and say little of other data."
    )


def _row(line: Line) -> dict[str, Any]:
    row = {name: value for name, value in vars(line).items() if name != "asked"}
    defaults = {"p": None, "headline": False, "images": 0, "unit": "images", "pairs": 0, "lost": 0, "is_form": False}
    defaults |= {"own_p": None, "unread": None, "base_n": 0}
    return {name: value for name, value in row.items() if name not in defaults or value != defaults[name]}


def _stars(p: float | None) -> str:
    return "" if p is None else " " + (stars(p).replace("*", r"\*") or "n.s.")


def read_lines(body: str) -> list[Line]:
    """The rows that an earlier block carries; none where there is no block, or its data was edited."""
    block = find_block(body)
    data = _DATA.search(block) if block else None
    if data is None:
        return []
    try:
        content = json.loads(data.group(1))
        rows, asked = (content, {}) if isinstance(content, list) else (content["lines"], content["asked"])
        known = {title: Asked.from_dict(of) for title, of in asked.items()}
        return [_read_line(row, known.get(row["benchmark"])) for row in rows]
    except (*NOT_JSON, TypeError, KeyError, AttributeError):
        return []


def _read_line(row: Mapping[str, Any], asked: Asked | None) -> Line:
    def interval(values: Sequence[Any] | None) -> Interval | None:
        if values is None:
            return None
        value, low, high = values
        return float(value), None if low is None else float(low), None if high is None else float(high)

    return Line(
        asked.title if asked else str(row["benchmark"]),
        str(row["split"]),
        str(row["metric"]),
        {True: True, False: False, None: None}[row["higher_is_better"]],
        int(row["n"]),
        interval(row["base"]),
        interval(row["adapter"]),
        interval(row["difference"]),
        int(row["parse_failures"]),
        int(row["missing"]),
        None if row.get("p") is None else float(row["p"]),
        bool(row.get("headline", row.get("p") is not None)),
        asked,
        int(row.get("images", 0)),
        str(row.get("unit", "images")),
        bool(row.get("is_form", False)),
        int(row.get("pairs", 0)),
        int(row.get("lost", 0)),
        None if row.get("own_p") is None else float(row["own_p"]),
        _shares(row.get("unread")),
        int(row.get("base_n", 0)),
    )


def _shares(values: Sequence[Any] | None) -> tuple[float, float] | None:
    if values is None:
        return None
    base, adapter = values
    return float(base), float(adapter)
