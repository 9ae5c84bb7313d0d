"""The models that a run asks, by id: annotators, detectors, judges, rewards, at the commits that it began with."""

from __future__ import annotations

from typing import Any, TypeVar

from mmpref.judges.resolve import refuse_nobody
from mmpref.recipes.names import named_of, renamed
from mmpref.run.directory import Run
from mmpref.vlm.pinned_models import commit_facts, commit_now, pin_commits

T = TypeVar("T")


def annotator_commit(spec: str) -> str | None:
    """The commit of a model of the Hub that a word names; None for anybody else, and where it cannot be told."""
    model = refuse_nobody(spec)
    # A reward model is an adapter.
    return commit_now(model, ("config.json", "adapter_config.json")) if model else None


def pin_annotators(run: Run, name: str, settings: T, annotator: str | None = None) -> tuple[T, str | None]:
    """Settings and annotator with the models that the run began with: ``ID@COMMIT`` in the place of what names a model
    of the Hub.

    Args:
        name: of the facts in the run's state.
        settings: a (nested) dataclass; whom it asks is found by `mmpref.recipes.names`.
        annotator: who is asked beside them.
    """
    asked = [*named_of(settings, "annotator"), *([annotator] if annotator else [])]
    at = pin_commits(run, name, asked, annotator_commit)
    return renamed(settings, "annotator", at), at(annotator) if annotator else None


def annotator_facts(run: Run, name: str) -> dict[str, Any]:
    """For a manifest: ``{"asked": [{"id": ..., "revision": ...}]}``; nothing where none is pinned."""
    facts = commit_facts(run, name)
    return {"asked": facts} if facts else {}
