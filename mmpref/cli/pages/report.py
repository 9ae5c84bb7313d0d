"""One HTML file about a whole loop: results, captions, training curves, pairs resolved per try, pairs to read. No
network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.api.wording import recipe_remarks
from mmpref.bench.finished_model import read_finished
from mmpref.cli.pages.html import as_png, data_url, error_bars, figure_png, marked, new_figure, render, verdict_facts
from mmpref.cli.pages.study_scenes import Scene, scenes_between
from mmpref.run import verdict
from mmpref.run.build_report import resolved_shares
from mmpref.run.files import write_atomic
from mmpref.run.kept_step import none_was_better
from mmpref.run.manifest import read_manifest
from mmpref.run.results import ADAPTER, ALL, BASE, Key, Results
from mmpref.run.results_text import COUNTS_DIFFER, counts_text, decimals
from mmpref.run.sample_sizes import intervals_over

SHOWN_PAIRS = 12
SHOWN_SCENES = 3


def write_report(root: Path, built: Path, trained: Path, evaluated: Path) -> Path:
    """Write ``report.html`` from three finished runs."""
    results = Results.read(evaluated)
    build_report = json.loads((built / "report.json").read_text(encoding="utf-8"))
    training, evaluation, lines = read_manifest(trained), read_manifest(evaluated), verdict.lines_of(results)
    rows = result_rows(results)
    text = render(
        "report.html.j2",
        built=read_manifest(built),
        trained=training,
        verdict=verdict_facts(lines, *verdict.table(lines)),
        over=intervals_over(results.values),
        rows=rows,
        counts_differ=COUNTS_DIFFER if any(" / " in row["n"] + row["unparsed"] for row in rows) else "",
        scenes=_scenes(evaluated),
        plane=_plane(results),
        resolved=data_url(_resolved(build_report)),
        training=data_url((trained / "training.png").read_bytes()),
        report=build_report,
        pairs=_pairs(built),
        remarks=remarks_of(training, evaluation),
        versions=evaluation["versions"],
    )
    path = root / "report.html"
    write_atomic(path, text)
    return path


def _scenes(evaluated: Path) -> list[Scene]:
    """What base and adapter say of a few images; none where CHAIR was not asked."""
    first, *second = read_finished([evaluated])
    return scenes_between(first, second[0], (BASE, ADAPTER), SHOWN_SCENES) if second else []


def remarks_of(training: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    """What of the two runs needs to be said in words, which are those of the recipe that made them."""
    kept = [f"While training {said}."] if (said := none_was_better(training)) else []
    return [
        *kept,
        *recipe_remarks(training.get("remarks", []), "train"),
        *recipe_remarks(evaluation.get("remarks", []), "evaluate"),
    ]


def result_rows(results: Results) -> list[dict[str, Any]]:
    """A row for each metric that both models have; those of whole benchmarks before those of parts."""
    adapter, differences = results.by_key(ADAPTER), results.differences_by_key()
    rows = []
    for key, value in sorted(results.by_key(BASE).items(), key=lambda item: item[0].part != ALL):
        if key not in adapter or key not in differences:
            continue
        models = (value, adapter[key])
        digits, change, asked = decimals(value.value), differences[key], results.asked_of(value)
        rows.append(
            {
                "name": f"{key.benchmark} {key.metric}" + ("" if key.part == ALL else f" ({key.part})"),
                "cells": [
                    *(one.text(digits=digits) for one in models),
                    change.text(signed=True, digits=digits),
                ],
                "kind": "" if asked.marks and change.verdict == "better" else change.verdict,
                "mark": asked.marked(change.mark),
                "n": counts_text(one.n for one in models),
                "unparsed": counts_text(one.parse_failures for one in models),
            }
        )
    return rows


def _plane(results: Results) -> str | None:
    """Hallucination against recall, with intervals: down and right is better. None where CHAIR was not asked."""
    figure = new_figure(5, 3.6)
    axes = figure.subplots()
    for model in (BASE, ADAPTER):
        values = results.by_key(model)
        across, up = (values.get(Key("chair", metric, ALL)) for metric in ("recall", "chair_i"))
        if across and up and across.is_defined and up.is_defined:
            axes.errorbar(
                across.value,
                up.value,
                xerr=error_bars(across),
                yerr=error_bars(up),
                fmt="o",
                capsize=3,
                label=model,
            )
    if not axes.containers:
        return None
    axes.set_xlabel("object recall")
    axes.set_ylabel("CHAIR_i (share of hallucinated mentions)")
    axes.grid(alpha=0.3)
    axes.legend()
    return data_url(figure_png(figure))


def _resolved(report: Mapping[str, Any]) -> bytes:
    figure = new_figure(5, 3.6)
    axes = figure.subplots()
    tries = [row["try"] for row in report["resolved"]]
    axes.plot(tries, resolved_shares(report), marker="o")
    axes.set_xticks(tries)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("try (the last one is unguided)")
    axes.set_ylabel("share of pairs resolved")
    axes.grid(alpha=0.3)
    return figure_png(figure)


def _pairs(built: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    pairs: list[dict[str, Any]] = []
    for file in sorted((built / "data").glob("*.parquet")):
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(batch_size=SHOWN_PAIRS):
            for row in batch.to_pylist():
                if len(pairs) == SHOWN_PAIRS:
                    return pairs
                chosen, rejected = row["chosen"][-1]["content"], row["rejected"][-1]["content"]
                pairs.append(
                    {
                        "image": data_url(as_png(row["images"][0]["bytes"])),
                        "prompt": row["prompt"][-1]["content"],
                        "chosen": marked(rejected, chosen),
                        "rejected": marked(chosen, rejected),
                        "similarity": row["similarity"],
                        "tries": row["iterations"],
                    }
                )
    return pairs
