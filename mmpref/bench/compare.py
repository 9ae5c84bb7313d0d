"""Evaluation runs side by side: a row for each metric, a column for each model, and what must not be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    columns: list[tuple[str, dict[tuple[str, str, str], dict[str, Any]]]] = []
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
            columns.append((f"{path.name}: {model['name']}", found))
    keys = list(dict.fromkeys(key for _, found in columns for key in found))
    rows = tuple((key, tuple(found.get(key) for _, found in columns)) for key in keys)
    return Comparison(tuple(name for name, _ in columns), rows, tuple(_warnings(columns)))


def _warnings(columns: Sequence[tuple[str, dict[tuple[str, str, str], dict[str, Any]]]]) -> list[str]:
    """One sentence for every benchmark whose data or settings differ between columns."""
    warnings = []
    for benchmark in dict.fromkeys(key[0] for _, found in columns for key in found):
        seen: dict[str, dict[str, list[str]]] = {"data": {}, "split of the data": {}, "settings": {}}
        for name, found in columns:
            row = next((row for key, row in found.items() if key[0] == benchmark), None)
            if row is not None:
                for what, value in (("data", row["data"]["fingerprint"]), ("split of the data", row["data"]["split"]),
                                    ("settings", row["settings_hash"])):  # fmt: skip
                    seen[what].setdefault(value, []).append(name)
        for what, values in seen.items():
            if len(values) > 1:
                groups = " and ".join(", ".join(names) for names in values.values())
                warnings.append(f"{benchmark}: the {what} differ between {groups}; do not compare these numbers.")
    return warnings
