"""Tags of how a run was made and watched, as the Hub has them: its jobs, and trackers, Trackio's with its Space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def origin_tags(manifest: Mapping[str, Any]) -> list[str]:
    """Of any run's manifest: ``hf_jobs``, as TRL has it; ``trackio`` and the like; ``trackio:URL`` makes the Hub show
    the Space beside the model."""
    tags = ["hf_jobs"] if manifest.get("job") else []
    for tracker in manifest.get("trackers") or []:
        tags.append(str(tracker["name"]))
        if tracker["name"] == "trackio" and tracker.get("url"):
            tags.append(f"trackio:{tracker['url']}")
    return tags
