"""The report of a preference dataset as the lines of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmpref.log import counted
from mmpref.run.build_report import LENGTH_RATIO
from mmpref.run.results_text import spread_texts


def lines(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The statistics of a report, by name."""
    bias, similarity = report["length_bias"], report["similarity"]
    yield "rows", str(report["rows"])
    yield "columns", ", ".join(report["columns"])
    yield "rows that can be trained on", str(report["usable"])
    for name in ("problems", "notes"):
        yield name, ", ".join(f"{entry['count']} {kind}" for kind, entry in report[name].items()) or "none"
    for name in ("chosen", "rejected"):
        yield f"words in {name}", _spread(report["words"][name], counts=True)
    yield "chosen minus rejected words", _spread(bias, counts=True)
    if bias["chosen_longer"] is not None:
        yield "rows whose chosen answer is longer", f"{bias['chosen_longer']:.1%}"
    if bias["ratio"] is not None:
        yield LENGTH_RATIO, f"{bias['ratio']:.3f}"
    for warning in report["warnings"]:
        yield "WARNING", warning
    if similarity["measured"]:
        yield f"similarity of {counted(similarity['measured'], 'row')}", _spread(similarity)
    if report["not_read"]:
        yield "columns like answers or parts of the question that are not read", ", ".join(report["not_read"])
    if report.get("contexts"):
        yield "rows whose answers continue a context", str(report["contexts"])
    if report["changed"]:
        yield (
            "rows changed as training changes them",
            ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in report["changed"].items()),
        )
    yield "share of words that differ", _spread(report["differing_words"])
    yield (
        "images a row",
        ", ".join(f"{count}: {counted(rows, 'row')}" for count, rows in report["images_per_row"].items()),
    )
    yield "sources", ", ".join(f"{name}: {counted(rows, 'row')}" for name, rows in list(report["sources"].items())[:8])
    for kind, entry in report["near_duplicates"].items():
        first = entry["first"][0]
        yield (
            f"rows whose {kind} nearly equal{'s' * (kind == 'image')} an earlier row's",
            (f"{entry['count']}, the first (counted from 0): row {first['row']} like {first['like']}"),
        )
    for name, counts in report["repeats"]["tells"].items():
        yield name, f"{counts['rejected']} rejected, {counted(counts['chosen'], 'chosen answer')}"
    yield "methods", ", ".join(f"{name}: {counted(rows, 'row')}" for name, rows in report["methods"].items())
    if under := report.get("under_model"):
        yield f"log-probability of chosen - rejected, ends included, under {under['model']}", _spread(under["margin"])
        yield "the same a token", _spread(under["margin_per_token"])
        if under["prefers_chosen"] is not None:
            shares = f"{under['prefers_chosen']:.1%}, {under['prefers_chosen_per_token']:.1%}"
            yield (
                "rows where it thinks chosen likelier (by sum, by token; ties count half)",
                f"{shares} of {counted(under['rows'], 'row')}",
            )
        yield "image tokens a row", _spread(under["image_tokens"], counts=True)
        yield f"tokens a row, of {under['context']}", _spread(under["tokens"], counts=True)


def _spread(values: Mapping[str, float | None], counts: bool = False) -> str:
    names = ("mean", "median", "least", "most")
    shown = spread_texts(values, counts=counts)
    return ", ".join(map(" ".join, zip(names, shown, strict=True))) if shown else "no pair to measure"
