"""Whether the model and the adapter that a finished run was made with are still what they were.

Only folders are looked at again: what was read from the Hub was read at a commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.run.inputs import refuse_changed_input, warn_unchecked
from mmpref.vlm.base_weights import folder_weights
from mmpref.vlm.loaded_models import is_in_memory
from mmpref.vlm.revisions import adapter_facts


def refuse_changed_model(run: Path, model: str | None, weights: Mapping[str, str] | None) -> None:
    """Not to give what one model made as made by another that lies in its folder since.

    Args:
        run: folder of the finished run.
        weights: `mmpref.vlm.base_weights.folder_weights` of the model then; nothing where the run does not say.

    Raises:
        RunError: the weights have changed.
    """
    if not model or not weights or is_in_memory(model):
        return
    if not (now := folder_weights(model)):
        warn_unchecked(run, f"the model {model}", "it is not there")
    elif now != weights:
        refuse_changed_input(run, f"The model {model} has changed")


def refuse_changed_adapter(run: Path, adapter: str | None, facts: Mapping[str, Any] | None) -> None:
    """The same of an adapter.

    Args:
        run: folder of the finished run.
        facts: `mmpref.vlm.revisions.adapter_facts` then; nothing where the run does not say.

    Raises:
        RunError: its weights have changed.
    """
    if not adapter or not facts or facts["revision"]:
        return
    try:
        # A name that is a folder's no more is not asked for on the Hub.
        now = adapter_facts(adapter, None)["weights"] if Path(adapter).is_dir() else None
    except OSError:
        now = None
    if now is None:
        warn_unchecked(run, f"the adapter {adapter}", "it is not there")
    elif now != facts["weights"]:
        refuse_changed_input(run, f"The adapter {adapter} has changed")
