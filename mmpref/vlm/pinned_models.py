"""The commits of the models that a run's settings name beside its own: found when it begins, and held to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from mmpref.origins.revisions import commit_of, ref_of
from mmpref.run.directory import Run


def commit_now(spec: str, files: Sequence[str]) -> str | None:
    """The commit that ``ID`` or ``ID@REVISION`` means now; None for a folder, and where it cannot be told.

    Args:
        files: of which the repository has at least one.
    """
    ref = ref_of(spec)
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            return commit_of(ref.model, ref.revision, file)
    return None


def pin_commits(run: Run, name: str, specs: Sequence[str], commit: Callable[[str], str | None]) -> Callable[[str], str]:
    """What the run calls each of these models: ``ID@COMMIT``, of the commit that it began with, where that is known.

    Args:
        name: of the facts in the run's state.
        specs: as settings name them.
        commit: tells what one means now; None where there is no commit.
    """
    pinned = run.pinned(name) or {spec: found for spec in sorted({*specs}) if (found := commit(spec))}
    if pinned:
        pinned = run.pin(name, pinned)
    return lambda spec: f"{ref_of(spec).model}@{pinned[spec]}" if spec in pinned else spec


def commit_facts(run: Run, name: str) -> list[dict[str, Any]]:
    """For a manifest: ``[{"id": ..., "revision": ...}]`` of those that are pinned."""
    return [{"id": ref_of(spec).model, "revision": commit} for spec, commit in run.pinned(name).items()]
