"""Cards of small runs, and what stands in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mmpref.hub.cards.dataset import card_and_pictures


def metadata(card: str) -> dict[str, Any]:
    """Of a card, between its first lines."""
    return yaml.safe_load(card.split("---\n")[1])


def dataset_card(path: Path, manifest: Mapping[str, Any]) -> str:
    """The text of a run's card."""
    return card_and_pictures(path, manifest)[0]
