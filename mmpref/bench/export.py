"""Results as `evaluate.save` writes them: a JSON file for each model and benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.run.files import disk_errors


def save(content: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every metric by its name (``name/part`` where it is of a part), and what was evaluated on what.

    Args:
        content: of ``results.json``.

    Returns:
        The files.
    """
    import evaluate  # takes seconds

    refs = {model["name"]: model["ref"] for model in content["models"]}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in content["results"]:
        values = found.setdefault((row["model"], row["benchmark"]), {})
        values[row["metric"] if row["split"] == "all" else f"{row['metric']}/{row['split']}"] = row["value"]
        values |= {
            **refs[row["model"]],
            "dataset": row["data"].get("id"),
            "dataset_revision": row["data"].get("revision"),
        }
    with disk_errors(folder):
        return [
            Path(evaluate.save(folder / f"{model}-{benchmark}.json", **values))
            for (model, benchmark), values in found.items()
        ]
