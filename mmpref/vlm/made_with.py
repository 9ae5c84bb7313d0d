"""Whether the model and the adapter that a run began with, or was made with, are still what they were.

Of a finished run only folders are looked at again: what was read from the Hub was read at a commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.origins.model_files import folder_files
from mmpref.origins.revisions import adapter_facts
from mmpref.run.inputs import refuse_changed_input, warn_unchecked
from mmpref.tables.in_memory import is_in_memory
from mmpref.vlm.base_weights import folder_weights


def model_facts(model: str) -> dict[str, dict[str, str]]:
    """By what a model in a folder is known: the SHA-256 of its ``weights`` (`mmpref.vlm.base_weights.folder_weights`)
    and of its other ``files`` (`mmpref.origins.model_files.folder_files`); both are empty of a model of the Hub."""
    return {"weights": folder_weights(model), "files": folder_files(model)}


def refuse_other_model(run: Path, model: str, before: Mapping[str, Any], now: Mapping[str, Mapping[str, str]]) -> None:
    """Not to go on with what lies in a model's folder since.

    Args:
        run: folder of the run.
        before: `model_facts` of then, among others; what it lacks, or has None of, is not compared.
        now: those of now.

    Raises:
        StaleRunError: they differ.
    """
    if before.get("weights", now["weights"]) != now["weights"]:
        refuse_changed_input(run, f"The model {model} has changed")
    files = now["files"] if before.get("files") is None else before["files"]
    changed = sorted(name for name in files.keys() | now["files"].keys() if files.get(name) != now["files"].get(name))
    if changed:
        refuse_changed_input(run, f"{changed[0]} of the model {model} has changed")


def refuse_other_adapter(run: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """The same of an adapter.

    Args:
        before: `mmpref.origins.revisions.adapter_facts` of then; what it lacks is not compared.
        now: those of now.

    Raises:
        StaleRunError: they differ.
    """
    if any(now.get(name) != value for name, value in before.items()):
        refuse_changed_input(run, f"The adapter {now['id']} has changed")


def refuse_changed_model(run: Path, model: str | None, before: Mapping[str, Any]) -> None:
    """Not to give what one model made as made by another that lies in its folder since.

    Args:
        run: folder of the finished run.
        before: as of `refuse_other_model`.

    Raises:
        StaleRunError: the model has changed.
    """
    if not model or not before.get("weights") or is_in_memory(model):
        return
    now = model_facts(model)
    if now["weights"]:
        refuse_other_model(run, model, before, now)
    else:
        warn_unchecked(run, f"the model {model}", "it is not there")


def refuse_changed_adapter(run: Path, adapter: str | None, before: Mapping[str, Any] | None) -> None:
    """The same of an adapter.

    Args:
        run: folder of the finished run.
        before: as of `refuse_other_adapter`; nothing where the run does not say.

    Raises:
        StaleRunError: it has changed.
    """
    if not adapter or not before or before["revision"]:
        return
    try:
        # A name that is a folder's no more is not asked for on the Hub.
        now = adapter_facts(adapter, None) if Path(adapter).is_dir() else None
    except OSError:
        now = None
    if now is None:
        warn_unchecked(run, f"the adapter {adapter}", "it is not there")
    else:
        refuse_other_adapter(run, before, now)
