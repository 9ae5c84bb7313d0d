"""Before a recipe's work starts: settings, folders and splits that are not there, a Hub that does not answer."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from mmpref.data.builder import BUILDERS
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import ModelError
from mmpref.hub_ids import refuse_page
from mmpref.registry import resolve_path
from mmpref.tables.open import refuse_split

_ATTEMPTS, _PAUSE, _TIMEOUT = 2, 1.0, 10.0  # the last two in seconds


def refuse_absent(recipe: Any) -> None:
    """Look for the folders and splits of local files that a resolved recipe names, and whether the Hub answers where it
    names models of the Hub. If it does not, the libraries are told so: they look into their caches at once, instead of
    asking each file six times.

    Raises:
        UsageError: the address of a Hub page in place of an id.
        ModelError: a model or adapter whose name can only be a path, where there is no such folder.
        InputError: a single file that has no such split.
    """
    named = {
        "model": None if getattr(recipe, "endpoint", None) else getattr(recipe, "model", None),
        "adapter": getattr(recipe, "adapter", None),
    }
    if isinstance(recipe, BuildRecipe):
        named |= BUILDERS.get(recipe.method).models(recipe.builder)
    remote = False
    for what, name in named.items():
        refuse_page(name or "")
        if isinstance(name, str) and not Path(resolve_path(name)).exists():
            if name.startswith((".", "/", "~")) or name.count("/") > 1:
                raise ModelError(
                    f"Cannot load the {what} {name}: there is no such folder.",
                    "Check the path, or name a model of the Hub.",
                )
            remote = True
    split = getattr(recipe, "split", None)
    if split:
        source = getattr(recipe, "source", None) or ()
        for spec in (*([source] if isinstance(source, str) else source), *getattr(recipe, "dataset", ())):
            refuse_split(spec, split)
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
