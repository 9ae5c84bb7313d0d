"""Where something was published: what a push gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Published:
    """What is on the Hub.

    Args:
        url: of the repository.
        commit: on ``main``, or on the pull request's branch where ``pull_request_url`` is set.
        tag: None where none was set.
        changed: False where the same was there before.
        visibility: who sees the repository.
    """

    url: str
    commit: str
    tag: str | None
    pull_request_url: str | None
    changed: bool
    repo_id: str
    repo_type: Literal["dataset", "model"]
    visibility: Literal["public", "private"] | None = None
