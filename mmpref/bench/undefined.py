"""What is to be said of metrics that are over nothing, and so have no value: 0 / 0 is neither the best nor the worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmpref.run.results import Key, Value


def undefined(values: Iterable[Value], reasons: Mapping[Key, str]) -> list[str]:
    """One sentence for every benchmark, model and reason.

    Args:
        reasons: of each metric, why there may be nothing that it is over (`mmpref.bench.benchmark.Metric.empty`).
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for value in values:
        if not value.is_defined:
            name = value.key.name.removeprefix(f"{value.benchmark} ")
            found.setdefault((value.benchmark, value.model, reasons[value.key]), []).append(name)
    return [
        f"{benchmark}: {', '.join(metrics)} of the {model} cannot be told: {reason}"
        for (benchmark, model, reason), metrics in found.items()
    ]
