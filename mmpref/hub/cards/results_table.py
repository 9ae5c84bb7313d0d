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

TASK = "image-text-to-text"
_DATA = re.compile(r"<!-- mmpref:results:data (.*?) -->")
_ARROWS = {True: " ↑", False: " ↓", None: ""}
_LEVELS = ((0.001, r"\*\*\*"), (0.01, r"\*\*"), (0.05, r"\*"))
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
    def key(self) -> tuple[str, str, str]:
        return self.benchmark, self.split, self.metric


def lines_of(evaluation: Mapping[str, Any]) -> list[Line]:
    """The rows of a ``results.json``, base and adapter side by side, in its order."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for result in evaluation["results"]:
        key = (str(result["benchmark"]), str(result["split"]), str(result["metric"]))
        entry = found.setdefault(key, {"base": None, "adapter": None, "difference": None, "failures": 0, "missing": 0})
        entry[_side(result["model"])] = _interval(result)
        entry["n"], entry["higher"] = result["n"], result.get("higher_is_better")
        entry["failures"] += int(result.get("parse_failures") or 0)
        entry["missing"] += int(result.get("missing") or 0)
    for difference in evaluation.get("differences") or []:
        key = (str(difference["benchmark"]), str(difference["split"]), str(difference["metric"]))
        if key in found:
            found[key]["difference"] = _interval(difference)
            found[key]["p"] = difference.get("p_holm")
    return [
        Line(
            *key,
            e["higher"],
            int(e["n"]),
            e["base"],
            e["adapter"],
            e["difference"],
            e["failures"],
            e["missing"],
            e.get("p"),
        )
        for key, e in found.items()
    ]


def _side(model: str) -> str:
    return "base" if model == "base" else "adapter"


def _interval(result: Mapping[str, Any]) -> Interval | None:
    """None where the metric is undefined (no sample, or a ratio over nothing)."""
    if not _is_number(result.get("value")):
        return None
    low, high = (float(result[end]) if _is_number(result.get(end)) else None for end in ("low", "high"))
    return float(result["value"]), low, high


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def results_block(lines: Sequence[Line]) -> str:
    """The marked block with the table; it says so where nothing was evaluated."""
    if not lines:
        return f"{BEGIN}\n## Results\n\nNot evaluated yet.\n{END}"
    rows = [
        [
            f"{text(line.benchmark)} ({text(line.split)}), {text(line.metric)}{_ARROWS[line.higher_is_better]}",
            _cell(line.base),
            _cell(line.adapter),
            _cell(line.difference, sign=True) + _stars(line.p),
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
    return "" if p is None else " " + next((stars for level, stars in _LEVELS if p < level), "n.s.")


def _cell(interval: Interval | None, sign: bool = False) -> str:
    if interval is None:
        return "–"
    value, low, high = interval
    style = ("+" if sign else "") + (".3f" if abs(value) < 10 else ".1f")
    return f"{value:{style}}" + ("" if low is None or high is None else f" [{low:{style}}, {high:{style}}]")


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


def model_index(name: str, evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The adapter's results (or the base's, where there is no adapter) in the Hub's form."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = []
    for result in _own(evaluation):
        data = result.get("data") or {}
        source = str(data.get("id") or result["benchmark"])
        results.append(
            EvalResult(
                task_type=TASK,
                dataset_type=source if is_hub_id(source) else str(result["benchmark"]),
                dataset_name=str(result["benchmark"]),
                dataset_split=str(result["split"]),
                dataset_revision=data.get("revision"),
                metric_type=str(result["metric"]),
                metric_name=f"{result['benchmark']} {result['metric']}",
                metric_value=result["value"],
            )
        )
    index: list[dict[str, Any]] = eval_results_to_model_index(name, results)
    return index


def eval_files(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """The results in the form of the Hub's leaderboards: a YAML file under ``.eval_results`` for each benchmark whose
    data are a Hub dataset at a commit, by path.

    The adapter's results, or the base's where there is no adapter; those over all parts, without the blind control's.
    A task is named ``benchmark_metric``.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries: dict[str, list[EvalResultEntry]] = {}
    for result in _own(evaluation):
        data = result.get("data") or {}
        if result["split"] != "all" or not (is_hub_id(data.get("id")) and is_commit(data.get("revision"))):
            continue
        interval = _interval(result)
        within = (
            "" if interval is None or interval[1] is None else f"95 % interval {interval[1]:g} to {interval[2]:g}, "
        )
        entries.setdefault(str(result["benchmark"]), []).append(
            EvalResultEntry(
                dataset_id=data["id"],
                task_id=f"{result['benchmark']}_{result['metric']}",
                value=result["value"],
                dataset_revision=data["revision"],
                notes=f"{within}n = {result['n']}, scored by mmpref",
            )
        )
    return {
        f".eval_results/mmpref-{benchmark}.yaml": yaml.safe_dump(eval_result_entries_to_yaml(own), sort_keys=False)
        for benchmark, own in entries.items()
    }


def _own(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The adapter's results, or the base's where there is no adapter. What a model says without its images is no result
    of it on that data."""
    sides = {_side(result["model"]) for result in evaluation["results"]}
    side = "adapter" if "adapter" in sides else "base"
    return [
        result
        for result in evaluation["results"]
        if _side(result["model"]) == side and _is_number(result["value"]) and not result.get("blind")
    ]


def add_results(card_text: str, evaluation: Mapping[str, Any]) -> str:
    """A model card with the results of an evaluation run merged in; everything else stays as it is written there.

    Args:
        card_text: the whole card. A card without our block gets it at its end.
        evaluation: a ``results.json``.

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
    index = _merged_index(old.get("model-index"), model_index(_name(evaluation), evaluation))
    blocks["model-index"] = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True)
    lines = {line.key: line for line in [*read_lines(body), *lines_of(evaluation)]}
    return join_card(blocks.values(), put_block(body, results_block(list(lines.values()))))


def _name(evaluation: Mapping[str, Any]) -> str:
    for model in evaluation.get("models") or []:
        name = (model.get("ref") or {}).get("adapter")
        if is_hub_id(name):
            return str(name).split("/")[-1]
    return "adapter"


def _merged_index(old: Any, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if old is None:
        return new
    try:
        first, *others = old
        kept = [_without(result, new[0]["results"]) for result in first["results"]]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise HubError(
            "The card's model-index has not the form that the Hub describes.", "Repair README.md."
        ) from error
    return [{**first, "results": [*(result for result in kept if result["metrics"]), *new[0]["results"]]}, *others]


def _without(result: dict[str, Any], new: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`result` without the metrics that `new` has for the same task, data and split (whatever the revision)."""

    def about(entry: Mapping[str, Any]) -> tuple[Any, ...]:
        data = entry["dataset"]
        return entry["task"]["type"], data["type"], data.get("config"), data.get("split")

    replaced = {_metric(metric) for entry in new if about(entry) == about(result) for metric in entry["metrics"]}
    return {**result, "metrics": [metric for metric in result["metrics"] if _metric(metric) not in replaced]}


def _metric(metric: Mapping[str, Any]) -> tuple[Any, Any]:
    return metric["type"], metric.get("name")
