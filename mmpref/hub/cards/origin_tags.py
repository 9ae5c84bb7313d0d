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


def emissions(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The card's ``co2_eq_emissions`` (grams), where a tracker knows them."""
    for tracker in manifest.get("trackers") or []:
        found = tracker.get("emissions") or {}
        if found.get("grams") is not None:
            return {
                "emissions": found["grams"],
                "source": f"CodeCarbon {found['version']}",
                "training_type": "fine-tuning",
                "geographical_location": found["country"],
                "hardware_used": found["hardware"],
            }
    return None
