"""Results as `evaluate.save` writes them: a JSON file for each model and benchmark."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
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
    with disk_errors(folder), _quiet_git():
        return [
            Path(evaluate.save(folder / f"{model}-{benchmark}.json", **content))
            for (model, benchmark), content in contents.items()
        ]


@contextlib.contextmanager
def _quiet_git() -> Iterator[None]:
    """`evaluate.save` notes git's commit: outside of a repository git would say "fatal" on stderr, and without git it
    would fail. A version that asks otherwise is left to itself."""
    import evaluate

    saving = sys.modules[evaluate.save.__module__]
    theirs = getattr(saving, "_git_commit_hash", None)
    if theirs is None:
        yield
        return
    saving._git_commit_hash = _commit  # type: ignore[attr-defined]
    try:
        yield
    finally:
        saving._git_commit_hash = theirs  # type: ignore[attr-defined]


def _commit() -> str | None:
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
