"""Evaluation results in the Hub's own form: the ``model-index`` of a card.

A benchmark's name and the id of its data stand there only for the published data, asked as published
(`mmpref.run.asked.Asked.official`). Other results go by the name of their data, with all that tells them apart.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmpref.errors import HubError
from mmpref.hub.cards.markdown import clip
from mmpref.run.asked import Asked
from mmpref.run.results import ALL, BASE, Results, Value

TASK = "image-text-to-text"
_WHICH = ("scored_like", "data", "data_split")
"""What tells one's own data apart."""
_SETTING = 200
"""Characters of one setting."""


def model_index(name: str, results: Results) -> list[dict[str, Any]]:
    """The adapter's results (or the base's, where there is no adapter) in the Hub's form, each with its `n` and how
    many samples have no score."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    entries: dict[str, list[EvalResult]] = {}
    for value in own_values(results):
        entry = EvalResult(
            task_type=TASK,
            **_dataset(results.asked_of(value), value.part),
            dataset_split=value.part,
            metric_type=value.metric,
            metric_name=f"{value.benchmark} {value.metric}",
            metric_value=value.value,
            metric_args={
                "n": value.n,
                **({"missing": value.missing} if value.missing else {}),
                **({"images_trained_on": seen} if (seen := results.asked_of(value).trained_on) else {}),
            },
        )
        entries.setdefault(value.benchmark, []).append(entry)
    # The library puts all metrics on one dataset under one name, and several benchmarks may ask about its rows.
    apart = [eval_results_to_model_index(name, of_one)[0]["results"] for of_one in entries.values()]
    return [{"name": name, "results": [result for of_one in apart for result in of_one]}]


def _dataset(asked: Asked, part: str) -> dict[str, Any]:
    """What an entry says of its data: how many questions its own part has."""
    if asked.official:
        return {
            "dataset_type": asked.data["id"],
            "dataset_name": asked.benchmark,
            "dataset_revision": asked.data["revision"],
        }
    whole = {"questions": asked.questions or None, "images": asked.images or None}
    facts = {
        "data": asked.own_name or "not recorded",
        "data_split": asked.split,
        "revision_or_hash": asked.revision,
        **(whole if part == ALL else (asked.parts or {}).get(part, {})),
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
        name: value if isinstance(value, int | float) else clip(_written(value), _SETTING)
        for name, value in json.loads(json.dumps(asked.changed)).items()
    }


def _written(value: Any) -> str:
    """As it stands in a file of settings: words as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-") or "data"


def own_values(results: Results) -> list[Value]:
    """The adapter's results, or the base's where there is no adapter. What a model says without its images is no result
    of it on that data, nor is what measures the form of answers that could not be read."""
    only_base, differences = all(value.model == BASE for value in results.values), results.differences_by_key()
    return [
        value
        for value in results.values
        if (only_base or value.model != BASE)
        and math.isfinite(value.value)
        and not value.blind
        and not (differences.get(value.key) or value).is_form
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
        own = _mapping(data.get("args"))
        which = [own.get(name) for name in _WHICH] if "scored_like" in own else [data["type"]]
        config = _mapping(own.get("changed_settings")).get("config", "")  # a type of before had none in its name
        return entry["task"]["type"], *which, config, data.get("config"), data.get("split")

    replaced = {_metric(metric) for entry in new if about(entry) == about(result) for metric in entry["metrics"]}
    return {**result, "metrics": [metric for metric in result["metrics"] if _metric(metric) not in replaced]}


def _mapping(content: Any) -> Mapping[str, Any]:
    """Of a stranger's entry, which may hold anything."""
    return content if isinstance(content, Mapping) else {}


def _metric(metric: Mapping[str, Any]) -> tuple[Any, Any]:
    return metric["type"], metric.get("name")
