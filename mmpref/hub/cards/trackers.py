"""Tags of the trackers that watched a training, as the Hub has them: a name, and Trackio's with its Space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tracker_tags(manifest: Mapping[str, Any]) -> list[str]:
    """Of a training run's manifest: ``trackio`` and the like; ``trackio:URL`` makes the Hub show the Space beside the
    model."""
    tags: list[str] = []
    for tracker in manifest.get("trackers") or []:
        tags.append(str(tracker["name"]))
        if tracker["name"] == "trackio" and tracker.get("url"):
            tags.append(f"trackio:{tracker['url']}")
    return tags


def tracker_links(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Addresses by name, of trackers that others can look at."""
    return {
        str(tracker["name"]): str(tracker["url"]) for tracker in manifest.get("trackers") or [] if tracker.get("url")
    }
