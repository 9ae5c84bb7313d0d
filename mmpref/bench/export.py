"""Results as `evaluate.save` writes them: a JSON file for each model and benchmark."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mmpref.run.files import disk_errors
from mmpref.run.results import ALL, Results


def save(results: Results, folder: Path) -> list[Path]:
    """Write every metric by its name (``name/part`` where it is of a part), and what was evaluated on what.

    Returns:
        The files.
    """
    import evaluate  # takes seconds

    contents: dict[tuple[str, str], dict[str, Any]] = {}
    for value in results.values:
        content = contents.setdefault((value.model, value.benchmark), {})
        content[value.metric if value.part == ALL else f"{value.metric}/{value.part}"] = value.as_dict()["value"]
        content |= dataclasses.asdict(results.models[value.model])
        content |= {"dataset": value.data.get("id"), "dataset_revision": value.data.get("revision")}
    with disk_errors(folder):
        return [
            Path(evaluate.save(folder / f"{model}-{benchmark}.json", **content))
            for (model, benchmark), content in contents.items()
        ]
