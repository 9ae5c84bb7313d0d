"""What only the command line does before a recipe's work starts: see whether the Hub answers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import click

from mmpref.api.checks import refuse_absent
from mmpref.hub_cache import go_offline, note, patience

if TYPE_CHECKING:
    from mmpref.api.planned import PlannedRun

_PAUSE = 1.0  # seconds


def check(recipe: Any, made: Collection[str] = (), plan: Callable[[], PlannedRun] | None = None) -> None:
    """Look for what a resolved recipe names (`mmpref.api.checks`), and whether the Hub answers where it names models of
    the Hub. If it refuses, the libraries are told so: they look into their caches at once, instead of asking each file
    six times. If it is slow, what is cached does not wait for it.

    Args:
        made, plan: as of `mmpref.api.checks.refuse_absent`.

    Raises:
        UsageError, ModelError, InputError: it names something that is not there.
    """
    remote = refuse_absent(recipe, made, plan)
    # The libraries read the variable when they are imported.
    if remote and "huggingface_hub" not in sys.modules and "HF_HUB_OFFLINE" not in os.environ:
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        reason, slow = _silent(endpoint)
        note(endpoint, not reason)
        if slow:
            click.echo(f"The Hub at {endpoint} is slow: models that were downloaded before are read here.", err=True)
        elif reason:
            go_offline(reason)
            click.echo(
                f"The Hub at {endpoint} cannot be reached ({reason}): only what was downloaded before is used.",
                err=True,
            )


def _silent(endpoint: str) -> tuple[str, bool]:
    """Why nothing answers at a web address, and whether it may yet; empty where anything does, be it a refusal."""
    reason, slow = _asked(endpoint)
    if reason and not slow:
        time.sleep(_PAUSE)
        reason, slow = _asked(endpoint)
    return reason, slow


def _asked(endpoint: str) -> tuple[str, bool]:
    """Somebody who takes the connection may answer yet; nobody is there where not even that comes in time."""
    import ssl
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=patience()).close()
    except urllib.error.HTTPError:
        return "", False
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLError):
            return "", False  # The libraries may know certificates that Python does not.
        return str(getattr(cause, "strerror", None) or cause), isinstance(error, TimeoutError)
    return "", False
