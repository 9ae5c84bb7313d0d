"""An evaluation's per-sample records as a dataset: a configuration for each benchmark, a split for each model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmpref.hub.cards.markdown import code, fence, table, text
from mmpref.hub.cards.results_table import asked_parts
from mmpref.hub_ids import is_hub_id
from mmpref.run.results import ADAPTER, BASE, Results

FILES = "samples/*.parquet"
_NAME = re.compile(r"(?P<model>base|adapter)-(?P<benchmark>.+)\.parquet")


def samples_card(files: Sequence[Path], manifest: Mapping[str, Any], results: Results, hub_id: str) -> str:
    """The card of the records.

    Args:
        files: of the records, as the run has them.
        manifest, results: of the run, as they may be published.
    """
    splits: dict[str, list[str]] = {}
    for file in files:
        if match := _NAME.fullmatch(file.name):
            splits.setdefault(match["benchmark"], []).append(match["model"])
    configs = [
        {
            "config_name": benchmark,
            "data_files": [
                {"split": model, "path": f"samples/{model}-{benchmark}.parquet"}
                for model in sorted(models, reverse=True)
            ],
        }
        for benchmark, models in sorted(splits.items())
    ]
    front = {"tags": ["evaluation", "vlm", "mmpref"], "configs": configs}
    data = {value.benchmark: value.data for value in results.values}
    asked = {value.benchmark: results.asked_of(value) for value in results.values}
    rows = [
        (
            text(name),
            code(str(data.get(name, {}).get("id"))),
            str(manifest.get("counts", {}).get(name, "–")),
            _missing(manifest.get("missing", {}).get(name)),
        )
        for name in sorted(splits)
    ]
    adapter = results.models[ADAPTER].adapter if ADAPTER in results.models else None
    evaluated = code(results.models[BASE].model) + (f" and the adapter {code(adapter)} on it" if adapter else "")
    load = (
        "from datasets import load_dataset\n\n"
        f'records = load_dataset("{hub_id}", "{sorted(splits)[0]}", split="base")\n'
        'print(records[0]["prompt"], records[0]["answer"], records[0]["counts"])'
    )
    hub_data = sorted({facts["id"] for facts in data.values() if is_hub_id(facts.get("id"))})
    licence = (
        f" Prompts and references are those of {', '.join(map(code, hub_data))}, under their licences."
        if hub_data
        else ""
    )
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
            f"# {text(hub_id.split('/')[1])}",
            "",
            f"What {evaluated} answered to questions that are scored by the rules of benchmarks, a row a question: "
            "prompt, reference, raw answer, what the scorer read in it (`parsed`), how it counts (`counts`, JSON), "
            "whether it has no score (`missing`), and whether the results are over it (`counted`: none is missing); "
            "where questions are right together or not, which ones (`groups`, JSON), and by itself (`right`)."
            f"{licence}",
            "",
            table(("configuration", "data", "questions", "missing"), rows),
            "",
            *(part for parts in asked_parts({of.title: of for of in asked.values()}) for part in (parts, "")),
            fence(load, "python"),
            "",
            "`results.json` has the results with their intervals, `run.json` the whole recipe of `mmpref evaluate`.",
            "",
        ]
    )


def _missing(counts: Any) -> str:
    """How many samples have no score of each model; runs of before counted those of the base alone."""
    if counts is None:
        return "–"
    by_model = counts if isinstance(counts, Mapping) else {BASE: counts}
    return ", ".join(f"{model} {count}" for model, count in by_model.items())
