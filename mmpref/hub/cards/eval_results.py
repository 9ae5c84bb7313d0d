"""Entries of the Hub's leaderboards: files under ``.eval_results`` (https://huggingface.co/docs/hub/eval-results)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import yaml

from mmpref.hub.cards.model_index import own_values
from mmpref.hub.leaderboards import Task
from mmpref.hub_ids import is_hub_id
from mmpref.log import counted, logger
from mmpref.run.results import ALL, Results

EVAL_FILES = ".eval_results/mmpref-*.yaml"
RECORDS = "Per-sample records"


def published_data(results: Results) -> list[str]:
    """Hub datasets whose published benchmark the results are of."""
    asked = [results.asked_of(value) for value in own_values(results)]
    return list(dict.fromkeys(one.data["id"] for one in asked if one.official and is_hub_id(one.data.get("id"))))


def eval_files(results: Results, tasks: Mapping[str, Sequence[Task]], records: str | None) -> dict[str, str]:
    """The results that a leaderboard takes, by path: a YAML file for each benchmark.

    The adapter's results, or the base's where there is no adapter; those over all parts, without the blind control's,
    of the published benchmark alone, where its dataset has a task ``benchmark_metric`` of these rows.

    Args:
        tasks: of the datasets, as `mmpref.hub.leaderboards.leaderboards` has them.
        records: address of the per-sample records, which every entry names; without it there is no entry.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries: dict[str, list[EvalResultEntry]] = {}
    for value in own_values(results):
        asked, task_id = results.asked_of(value), f"{value.benchmark}_{value.metric}"
        declared = tasks.get(asked.data.get("id") or "", ()) if asked.official and value.part == ALL else ()
        if not any(task.id == task_id and task.is_of(asked.data) for task in declared):
            continue
        within = f"95 % interval {value.low:g} to {value.high:g}, " if math.isfinite(value.low) else ""
        missing = f", {value.missing} missing" if value.missing else ""
        seen = f", trained on {counted(asked.trained_on, 'image')} of these" if asked.trained_on else ""
        entries.setdefault(value.benchmark, []).append(
            EvalResultEntry(
                dataset_id=asked.data["id"],
                task_id=task_id,
                value=value.value,
                dataset_revision=asked.data["revision"],
                source_url=records,
                source_name=RECORDS if records else None,
                notes=f"{within}n = {value.n}{missing}{seen}, scored by mmpref",
            )
        )
    if records is None and entries:
        logger.info(
            "The leaderboard of %s would take these results: publish the per-sample records too (--push-samples, or "
            "before that with --hub-dataset-id), for its entry to name.",
            " and ".join(entries),
        )
        return {}
    return {
        f".eval_results/mmpref-{benchmark}.yaml": yaml.safe_dump(eval_result_entries_to_yaml(own), sort_keys=False)
        for benchmark, own in entries.items()
    }
