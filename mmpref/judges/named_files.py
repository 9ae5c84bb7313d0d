"""Files and folders of this machine that a run's settings name beside its model and data: tables, and models that it
asks. What they held when it began, and whether they still do. A model of the Hub has a commit
(`mmpref.vlm.pinned_models`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmpref.errors import UsageError
from mmpref.judges.resolve import refuse_nobody
from mmpref.origins.model_files import SUFFIXES, file_digest
from mmpref.recipes.names import named_of
from mmpref.registry import resolve_path
from mmpref.run.directory import Run
from mmpref.run.inputs import refuse_changed_input, warn_unchecked

_NAMED = "named-files"
"""Name of the facts that a run pins of them."""


def pin_named_files(run: Run, settings: Any, annotator: str | None = None) -> None:
    """Keep digests of the files and folders with a run that begins, or see that one that goes on has them still.

    Args:
        settings: a (nested) dataclass; what it names is found by `mmpref.recipes.names`.
        annotator: who is asked beside them.

    Raises:
        RunError: one has changed since the run began.
        UsageError, InputError: a word names nobody who could be asked.
    """
    asked = [*named_of(settings, "annotator"), *([annotator] if annotator else [])]
    files = [spec for spec in asked if spec.endswith(".jsonl") or refuse_nobody(spec)]
    specs = sorted({*named_of(settings, "path"), *named_of(settings, "embedder"), *files})
    if digests := {spec: digest for spec in specs if (digest := local_digest(spec))}:
        run.pin(_NAMED, digests)
    refuse_changed_files(run)


def refuse_changed_files(run: Run) -> None:
    """Not to give what was made of one file or folder as made of another that has its name since; it is warned of one
    that is gone.

    Raises:
        RunError: one has changed.
    """
    for spec, before in run.pinned(_NAMED).items():
        now = local_digest(spec)
        if now is None:
            warn_unchecked(run.path, spec, "it is not there")
        elif now != before:
            refuse_changed_input(run.path, f"{spec} has changed")


def local_digest(spec: str) -> str | None:
    """The SHA-256 of a file, or of a folder's files of a model by their names; None where there is neither."""
    try:
        path = Path(resolve_path(spec))
        if path.is_file():
            return file_digest(path)
        digests = {file.relative_to(path).as_posix(): file_digest(file) for file in _model_files(path)}
    except (OSError, ValueError, UsageError):  # no path, or one of a package that is gone
        return None
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest() if digests else None


def _model_files(folder: Path) -> Iterator[Path]:
    """Of a folder and those below it, such as an embedder has; none of hidden ones."""
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix in SUFFIXES and not hidden and file.is_file():
            yield file
