"""What only the command line does before a recipe's work starts: see whether the Hub answers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from typing import Any

import click

from mmpref.api.checks import refuse_absent

_ATTEMPTS, _PAUSE, _TIMEOUT = 2, 1.0, 10.0  # the last two in seconds


def check(recipe: Any, made: Collection[str] = ()) -> None:
    """Look for what a resolved recipe names (`mmpref.api.checks`), and whether the Hub answers where it names models of
    the Hub. If it does not, the libraries are told so: they look into their caches at once, instead of asking each file
    six times.

    Args:
        made: settings whose values an earlier step makes, such as ``adapter``.

    Raises:
        UsageError, ModelError, InputError: it names something that is not there.
    """
    remote = refuse_absent(recipe, made)
    # The libraries read the variable when they are imported.
    if remote and "huggingface_hub" not in sys.modules and "HF_HUB_OFFLINE" not in os.environ:
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        if reason := _silent(endpoint):
            os.environ["HF_HUB_OFFLINE"] = "1"
            click.echo(
                f"The Hub at {endpoint} cannot be reached ({reason}): only what was downloaded before is used.",
                err=True,
            )


def _silent(endpoint: str) -> str:
    """Why nothing answers at a web address; empty where anything does, be it a refusal."""
    import ssl
    import urllib.error
    import urllib.request

    reason = ""
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE * attempt)
        try:
            urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=_TIMEOUT).close()
        except urllib.error.HTTPError:
            return ""
        except (OSError, ValueError) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, ssl.SSLError):
                return ""  # The libraries may know certificates that Python does not.
            reason = str(getattr(cause, "strerror", None) or cause)
        else:
            return ""
    return reason
