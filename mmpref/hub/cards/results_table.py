"""Evaluation results in a model card: the table between marker comments, and the ``model-index`` of the metadata.

The block carries its rows as JSON in a comment, so that results of several evaluation runs end up in one table.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from mmpref.errors import HubError
from mmpref.hub.cards.markdown import table, text
from mmpref.hub.cards.merge import BEGIN, END, find_block, front_matter_blocks, join_card, put_block, split_card
from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.run.results import ALL, BASE, Difference, Key, Results, Value
from mmpref.run.results_text import interval_text, stars

TASK = "image-text-to-text"
_DATA = re.compile(r"<!-- mmpref:results:data (.*?) -->")
_ARROWS = {True: " ↑", False: " ↓", None: ""}
_LEGEND = (
    r" Headline metrics are tested, and corrected over the benchmarks of their run by Holm's method: \* below 0.05, "
    r"\*\* below 0.01, \*\*\* below 0.001, n.s. not significant."
)
Interval = tuple[float, float | None, float | None]


@dataclass(frozen=True)
class Line:
    """One metric of one benchmark split: values as (value, low, high), the interval at 95 %.

    Args:
        p: of the difference, corrected for several benchmarks, where a claim is made on the metric.
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

    @property
    def key(self) -> Key:
        return Key(self.benchmark, self.metric, self.split)


def lines_of(results: Results) -> list[Line]:
    """Base and adapter side by side, in the order of the results."""
    base, differences = results.by_key(BASE), results.differences_by_key()
    adapter = {value.key: value for value in results.values if value.model != BASE}
    lines = []
    for key in dict.fromkeys(value.key for value in results.values):
        sides = [value for value in (base.get(key), adapter.get(key)) if value]
        difference = differences.get(key)
        lines.append(
            Line(
                key.benchmark,
                key.part,
                key.metric,
                sides[-1].higher_is_better,
                sides[-1].n,
                _interval(base.get(key)),
                _interval(adapter.get(key)),
                _interval(difference),
                sum(value.parse_failures for value in sides),
                sum(value.missing for value in sides),
                difference.p_holm if difference else None,
            )
        )
    return lines


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
    rows = [
        [
            f"{text(line.benchmark)} ({text(line.split)}), {text(line.metric)}{_ARROWS[line.higher_is_better]}",
            _cell(line.base),
            _cell(line.adapter),
            _cell(line.difference, signed=True) + _stars(line.p),
            f"{line.n:,}",
        ]
        for line in lines
    ]
    notes = [
        f"* {text(line.benchmark)} ({text(line.split)}), {text(line.metric)}: {line.parse_failures} answers could not "
        f"be parsed, {line.missing} are missing (both models together)."
        for line in lines
        if line.parse_failures or line.missing
    ]
    # No character that could end the comment survives in it.
    data = json.dumps([_row(line) for line in lines])
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("--", "-\\u002d")
    parts = [
        f"{BEGIN}\n<!-- mmpref:results:data {data} -->\n## Results",
        "In brackets: 95 % bootstrap intervals; the difference is adapter minus base, paired by sample. "
        "↑ higher is better, ↓ lower is better." + (_LEGEND if any(line.p is not None for line in lines) else ""),
        table(("benchmark (split), metric", "base", "adapter", "difference", "n"), rows),
        *(["\n".join(notes)] if notes else []),
    ]
    return "\n\n".join(parts) + f"\n{END}"


def _row(line: Line) -> dict[str, Any]:
    return {name: value for name, value in asdict(line).items() if name != "p" or value is not None}


def _stars(p: float | None) -> str:
    return "" if p is None else " " + (stars(p).replace("*", r"\*") or "n.s.")


def _cell(interval: Interval | None, signed: bool = False) -> str:
    if interval is None:
        return "–"
    return interval_text(*interval, signed=signed, digits=3 if abs(interval[0]) < 10 else 1)


def read_lines(body: str) -> list[Line]:
    """The rows that an earlier block carries; none where there is no block, or its data was edited."""
    block = find_block(body)
    data = _DATA.search(block) if block else None
    if data is None:
        return []
    try:
        return [_read_line(row) for row in json.loads(data.group(1))]
    except (ValueError, TypeError, KeyError):
        return []


def _read_line(row: Mapping[str, Any]) -> Line:
    def interval(values: Sequence[Any] | None) -> Interval | None:
        if values is None:
            return None
        value, low, high = values
        return float(value), None if low is None else float(low), None if high is None else float(high)

    return Line(
        str(row["benchmark"]),
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
    )


def model_index(name: str, results: Results) -> list[dict[str, Any]]:
    """The adapter's results (or the base's, where there is no adapter) in the Hub's form."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    entries = []
    for value in _own(results):
        source = str(value.data.get("id") or value.benchmark)
        entries.append(
            EvalResult(
                task_type=TASK,
                dataset_type=source if is_hub_id(source) else value.benchmark,
                dataset_name=value.benchmark,
                dataset_split=value.part,
                dataset_revision=value.data.get("revision"),
                metric_type=value.metric,
                metric_name=f"{value.benchmark} {value.metric}",
                metric_value=value.value,
            )
        )
    index: list[dict[str, Any]] = eval_results_to_model_index(name, entries)
    return index


def eval_files(results: Results) -> dict[str, str]:
    """The results in the form of the Hub's leaderboards: a YAML file under ``.eval_results`` for each benchmark whose
    data are a Hub dataset at a commit, by path.

    The adapter's results, or the base's where there is no adapter; those over all parts, without the blind control's.
    A task is named ``benchmark_metric``.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries: dict[str, list[EvalResultEntry]] = {}
    for value in _own(results):
        data = value.data
        if value.part != ALL or not (is_hub_id(data.get("id")) and is_commit(data.get("revision"))):
            continue
        within = f"95 % interval {value.low:g} to {value.high:g}, " if math.isfinite(value.low) else ""
        entries.setdefault(value.benchmark, []).append(
            EvalResultEntry(
                dataset_id=data["id"],
                task_id=f"{value.benchmark}_{value.metric}",
                value=value.value,
                dataset_revision=data["revision"],
                notes=f"{within}n = {value.n}, scored by mmpref",
            )
        )
    return {
        f".eval_results/mmpref-{benchmark}.yaml": yaml.safe_dump(eval_result_entries_to_yaml(own), sort_keys=False)
        for benchmark, own in entries.items()
    }


def _own(results: Results) -> list[Value]:
    """The adapter's results, or the base's where there is no adapter. What a model says without its images is no result
    of it on that data."""
    only_base = all(value.model == BASE for value in results.values)
    return [
        value
        for value in results.values
        if (only_base or value.model != BASE) and math.isfinite(value.value) and not value.blind
    ]


def add_results(card_text: str, results: Results) -> str:
    """A model card with the results of an evaluation run merged in; everything else stays as it is written there.

    Args:
        card_text: the whole card. A card without our block gets it at its end.

    Results of the same benchmark, split and metric are replaced, others (ours or foreign) are kept. Adding the same
    results again changes nothing.

    Raises:
        HubError: the card's metadata is not YAML, or its model-index has not the Hub's form.
    """
    front, body = split_card(card_text)
    try:
        blocks = front_matter_blocks(front)
        old = yaml.safe_load(front) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise HubError(f"The card's metadata is not valid YAML ({reason}).", "Repair README.md there.") from error
    index = _merged_index(old.get("model-index"), model_index(_name(results), results))
    blocks["model-index"] = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True)
    lines = {line.key: line for line in [*read_lines(body), *lines_of(results)]}
    return join_card(blocks.values(), put_block(body, results_block(list(lines.values()))))


def _name(results: Results) -> str:
    adapters = (ref.adapter for ref in results.models.values())
    return next((adapter.split("/")[-1] for adapter in adapters if adapter and is_hub_id(adapter)), "adapter")


def _merged_index(old: Any, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if old is None:
        return new
    try:
        first, *others = old
        remaining = [_without(result, new[0]["results"]) for result in first["results"]]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise HubError(
            "The card's model-index has not the form that the Hub describes.", "Repair README.md."
        ) from error
    return [{**first, "results": [*(result for result in remaining if result["metrics"]), *new[0]["results"]]}, *others]


def _without(result: dict[str, Any], new: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`result` without the metrics that `new` has for the same task, data and split (whatever the revision)."""

    def about(entry: Mapping[str, Any]) -> tuple[Any, ...]:
        data = entry["dataset"]
        return entry["task"]["type"], data["type"], data.get("config"), data.get("split")

    replaced = {_metric(metric) for entry in new if about(entry) == about(result) for metric in entry["metrics"]}
    return {**result, "metrics": [metric for metric in result["metrics"] if _metric(metric) not in replaced]}


def _metric(metric: Mapping[str, Any]) -> tuple[Any, Any]:
    return metric["type"], metric.get("name")
