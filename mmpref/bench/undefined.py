"""What is to be said of metrics that are over nothing and have no value: 0 / 0 is neither the best nor the worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmpref.run.results import Key, Value


def undefined(values: Iterable[Value], reasons: Mapping[Key, str]) -> list[str]:
    """One sentence for every benchmark and reason, of models alike together.

    Args:
        reasons: of each metric, why there may be nothing that it is over (`mmpref.bench.benchmark.Metric.empty`).
    """
    metrics: dict[tuple[str, str, str], list[str]] = {}
    for value in values:
        if not value.is_defined:
            name = value.key.name.removeprefix(f"{value.benchmark} ")
            metrics.setdefault((value.benchmark, reasons[value.key], value.model), []).append(name)
    models: dict[tuple[str, str, str], list[str]] = {}
    for (benchmark, reason, model), found in metrics.items():
        models.setdefault((benchmark, reason, ", ".join(found)), []).append(model)
    return [
        f"{benchmark}: {found} cannot be told of {' and '.join(of)}: {reason}"
        for (benchmark, reason, found), of in models.items()
    ]
