"""How a run was made and watched: tags as the Hub has them, of its jobs and of trackers, Trackio's with its Space; and
links to what trackers show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from mmpref.hub.cards.markdown import text

_PLAIN = re.compile(r"[\w.~:/?#&=%+-]+")
"""Of an address: what cannot end a link."""


def origin_tags(manifest: Mapping[str, Any]) -> list[str]:
    """Of any run's manifest: ``hf_jobs``, as TRL has it; ``trackio`` and the like; ``trackio:URL`` makes the Hub show
    the Space beside the model."""
    tags = ["hf_jobs"] if manifest.get("job") else []
    for tracker in manifest.get("trackers") or []:
        tags.append(str(tracker["name"]))
        if tracker["name"] == "trackio" and tracker.get("url"):
            tags.append(f"trackio:{tracker['url']}")
    return tags


def tracker_links(manifest: Mapping[str, Any]) -> str:
    """Where trackers show the run's curves, as Markdown; "" where none is known that others can reach."""
    shown = [
        f"[{text(str(tracker['name']))}]({tracker['url']})"
        for tracker in manifest.get("trackers") or []
        if _is_public(str(tracker.get("url") or ""))
    ]
    return ", ".join(shown)


def _is_public(url: str) -> bool:
    """Whether an address is a page that others may reach: of a named host or a public number, without a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or not _PLAIN.fullmatch(url):
        return False
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".lan"))


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
