"""Evaluation results in the Hub's own forms: the ``model-index`` of a card, and the files of its leaderboards.

A benchmark's name and the id of its data stand there only for the published data, asked as published
(`mmpref.run.asked.Asked.official`). Other results go by the name of their data, with all that tells them apart.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mmpref.errors import HubError
from mmpref.hub.cards.markdown import clip
from mmpref.hub_ids import is_hub_id
from mmpref.run.asked import Asked
from mmpref.run.results import ALL, BASE, Results, Value

TASK = "image-text-to-text"
_SETTING = 200
"""Characters of one setting."""


def model_index(name: str, results: Results) -> list[dict[str, Any]]:
    """The adapter's results (or the base's, where there is no adapter) in the Hub's form."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    entries = [
        EvalResult(
            task_type=TASK,
            **_dataset(results.asked_of(value)),
            dataset_split=value.part,
            metric_type=value.metric,
            metric_name=f"{value.benchmark} {value.metric}",
            metric_value=value.value,
        )
        for value in _own(results)
    ]
    index: list[dict[str, Any]] = eval_results_to_model_index(name, entries)
    return index


def _dataset(asked: Asked) -> dict[str, Any]:
    """What an entry says of its data."""
    if asked.official:
        return {
            "dataset_type": asked.data["id"],
            "dataset_name": asked.benchmark,
            "dataset_revision": asked.data["revision"],
        }
    facts = {
        "data": asked.own_name or "not recorded",
        "data_split": asked.data.get("split"),
        "revision_or_hash": asked.revision,
        "questions": asked.questions or None,
        "images": asked.images or None,
        "scored_like": asked.label,
        "changed_settings": _changed(asked),
        **({"chose_the_kept_step": asked.chose["metric"]} if asked.chose else {}),
    }
    return {
        "dataset_type": f"not-{asked.benchmark}-{_slug(asked.which)}",
        "dataset_name": asked.title,
        "dataset_args": {name: value for name, value in facts.items() if value is not None},
    }


def _changed(asked: Asked) -> dict[str, Any] | None:
    if asked.changed is None:
        return None
    return {
        name: value if isinstance(value, int | float) else clip(str(value), _SETTING)
        for name, value in json.loads(json.dumps(asked.changed)).items()
    }


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-") or "data"


def eval_files(results: Results) -> dict[str, str]:
    """The results in the form of the Hub's leaderboards: a YAML file under ``.eval_results`` for each benchmark that is
    the published one, by path.

    The adapter's results, or the base's where there is no adapter; those over all parts, without the blind control's.
    A task is named ``benchmark_metric``.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries: dict[str, list[EvalResultEntry]] = {}
    for value in _own(results):
        data, asked = value.data, results.asked_of(value)
        if value.part != ALL or not (asked.official and is_hub_id(data.get("id"))):
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


def merged_index(old: Any, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Both; metrics of the same task, data and split are the new ones.

    Raises:
        HubError: the old one has not the Hub's form.
    """
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
