"""The sentence-transformers models that a run's settings name, at the commits that it began with."""

from __future__ import annotations

from typing import Any, TypeVar

from mmpref.recipes.names import named_of, renamed
from mmpref.run.directory import Run
from mmpref.vlm.pinned_models import commit_facts, commit_now, pin_commits

T = TypeVar("T")


WITHOUT_NETWORK = (
    "Without a network that is a folder of a sentence-transformers model, brought from elsewhere. The one that ships, "
    "pkg:mmpref.testbed/embedder, knows the testbed's words alone, and other texts are mostly alike to it: it shows "
    "that a build runs, and no more."
)
"""What to name in the place of an embedder that is not in the cache."""


def embedder_commit(spec: str) -> str | None:
    """The commit that ``ID`` or ``ID@REVISION`` means now; None for a folder, and where it cannot be told."""
    return commit_now(spec, ("config.json", "modules.json"))  # not every embedder has the first


def pin_embedders(run: Run, name: str, settings: T) -> T:
    """Settings whose embedders are those that the run began with: ``ID@COMMIT`` in the place of what names a model of
    the Hub.

    Args:
        name: of the facts in the run's state.
        settings: a (nested) dataclass; its embedders are found by `mmpref.recipes.names`.
    """
    return renamed(settings, "embedder", pin_commits(run, name, named_of(settings, "embedder"), embedder_commit))


def embedder_facts(run: Run, name: str) -> dict[str, Any]:
    """For a manifest: ``{"embedders": [{"id": ..., "revision": ...}]}``; nothing where none is pinned."""
    facts = commit_facts(run, name)
    return {"embedders": facts} if facts else {}
