"""The commits of the sentence-transformers models that a run's settings name: found when it begins, and held to."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

from mmpref.recipes.names import named, renamed
from mmpref.run.directory import Run
from mmpref.vlm.revisions import commit_of, ref_of

T = TypeVar("T")


def embedder_commit(spec: str) -> str | None:
    """The commit that ``ID`` or ``ID@REVISION`` means now; None for a folder, and where it cannot be told."""
    ref = ref_of(spec)
    # Not every embedder has the first file.
    for file in ("config.json", "modules.json"):
        with contextlib.suppress(OSError, ValueError):
            return commit_of(ref.model, ref.revision, file)
    return None


def pin_embedders(run: Run, name: str, settings: T) -> T:
    """Settings whose embedders are those that the run began with: ``ID@COMMIT`` in the place of what names a model of
    the Hub.

    Args:
        name: of the facts in the run's state.
        settings: a (nested) dataclass; its embedders are found by `mmpref.recipes.names`.
    """
    specs = sorted({spec for one in named(settings) if one.kind == "embedder" for spec in one.values})
    pinned = run.pinned(name) or {spec: commit for spec in specs if (commit := embedder_commit(spec))}
    if not pinned:
        return settings
    pinned = run.pin(name, pinned)
    return renamed(
        settings, "embedder", lambda spec: f"{ref_of(spec).model}@{pinned[spec]}" if spec in pinned else spec
    )


def embedder_facts(run: Run, name: str) -> dict[str, Any]:
    """For a manifest: ``{"embedders": [{"id": ..., "revision": ...}]}``; nothing where none is pinned."""
    facts = [{"id": ref_of(spec).model, "revision": commit} for spec, commit in run.pinned(name).items()]
    return {"embedders": facts} if facts else {}
