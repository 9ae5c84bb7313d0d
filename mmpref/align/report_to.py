"""Which trackers a training reports to: their names, and whether they are installed. Nothing of them is loaded here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from mmpref.errors import UsageError

CODECARBON = "codecarbon"
TRACKERS = ("trackio", "wandb", "tensorboard", "mlflow", CODECARBON)
"""Packages that ``trainer.report_to`` can name."""


def names_of(report_to: Any) -> list[str]:
    """The trackers of a recipe's ``trainer.report_to``: a name, several, ``none`` or None."""
    if report_to in (None, "none"):
        return []
    names = [report_to] if isinstance(report_to, str) else list(report_to)
    return [name for name in dict.fromkeys(names) if name != "none"]


def check(names: Sequence[str]) -> None:
    """Refuse a tracker whose package is not installed, before any work.

    Raises:
        UsageError: that is so, or a name that is none of `TRACKERS`.
    """
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"There is no tracker {name!r}.", f"There are {', '.join(TRACKERS)}.")
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"The tracker {name} is not installed.", f"pip install {name}")
