"""Evaluation runs side by side: a row for each metric, a column for each model, and what must not be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.errors import InputError
from mmpref.run import read_manifest


@dataclass(frozen=True)
class Comparison:
    """Args:
    models: column names, base models once for each run that scored them.
    rows: (benchmark, metric, part) with one result or None for each column.
    warnings: why numbers in one row may not be comparable.
    """

    models: tuple[str, ...]
    rows: tuple[tuple[tuple[str, str, str], tuple[dict[str, Any] | None, ...]], ...]
    warnings: tuple[str, ...]


def compare(runs: Sequence[Path]) -> Comparison:
    """Read finished evaluation runs.

    Raises:
        RunError: a directory is no finished run.
        InputError: a run of another command.
    """
    columns: list[_Column] = []
    for path in runs:
        manifest = read_manifest(path)
        if manifest["command"] != "evaluate":
            raise InputError(f"{path} is a run of `{manifest['command']}`, not an evaluation.")
        content = json.loads((path / "results.json").read_text(encoding="utf-8"))
        for model in content["models"]:
            found = {
                (row["benchmark"], row["metric"], row["split"]): row
                for row in content["results"]
                if row["model"] == model["name"]
            }
            columns.append(_Column(f"{path.name}: {model['name']}", found, manifest))
    keys = list(dict.fromkeys(key for column in columns for key in column.found))
    rows = tuple((key, tuple(column.found.get(key) for column in columns)) for key in keys)
    return Comparison(tuple(column.name for column in columns), rows, tuple(_warnings(columns)))


@dataclass(frozen=True)
class _Column:
    """One model of one run: its results by (benchmark, metric, part), and the run's manifest."""

    name: str
    found: Mapping[tuple[str, str, str], dict[str, Any]]
    manifest: Mapping[str, Any]

    def conditions(self, benchmark: str) -> dict[str, Any]:
        """What must be equal for numbers to be compared, by how a warning words it; none where it was not scored."""
        row = next((row for key, row in self.found.items() if key[0] == benchmark), None)
        if row is None:
            return {}
        return {
            "data differ": row["data"]["fingerprint"],
            "split of the data differs": row["data"]["split"],
            "settings differ": row["settings_hash"],
            "number of samples differs": self.manifest.get("counts", {}).get(benchmark),
            "number of missing samples differs": self.manifest.get("missing", {}).get(benchmark, 0),
        }


def _warnings(columns: Sequence[_Column]) -> list[str]:
    """One sentence for every benchmark whose data, settings or number of samples differ between columns."""
    warnings = []
    for benchmark in dict.fromkeys(key[0] for column in columns for key in column.found):
        seen: dict[str, dict[Any, list[str]]] = {}
        for column in columns:
            for what, value in column.conditions(benchmark).items():
                seen.setdefault(what, {}).setdefault(value, []).append(column.name)
        for what, values in seen.items():
            if len(values) > 1:
                groups = " and ".join(", ".join(names) for names in values.values())
                warnings.append(f"{benchmark}: the {what} between {groups}; do not compare these numbers.")
    return warnings
