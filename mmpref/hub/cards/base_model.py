"""What an adapter's card says of its base: where it is, its licence, and who sees that it is the right one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import UsageError
from mmpref.hub.cards.markdown import code
from mmpref.hub_ids import is_commit
from mmpref.licence import licence_of_folder
from mmpref.registry import resolve_path


def base_licence(model: Mapping[str, Any]) -> str | None:
    """As the run recorded it, or as the card in the folder of a local or packaged model says."""
    if model.get("licence") or is_commit(model.get("revision")):
        return model.get("licence")
    try:
        folder = Path(resolve_path(model["id"]))
    except UsageError:
        return None
    return licence_of_folder(folder.resolve()) if folder.is_dir() else None


def base_note(base: str | None, base_hub_id: str | None, local: bool, whole: bool) -> str:
    """Where the base is, and how one knows.

    Args:
        base: its Hub id, where it has one.
        base_hub_id: that id, where the owner named it and the run did not.
        local: it was a folder when this was trained.
        whole: what is published is a whole model, and no adapter.
    """
    if base_hub_id:
        was, what = "a local model" if local else "under another id", "this" if whole else "the adapter"
        return f"The base was {was} when {what} was trained; its owner says that this is it on the Hub."
    if base:
        belongs = "this was trained from" if whole else "the adapter belongs to"
        return f"The base is on the Hub, and {belongs} exactly the revision below."
    none = (
        "The base is a local model or one that ships with a package; it is not published under a Hub id, so the "
        "metadata names none."
    )
    return none if whole else f"{none} The adapter is of no use without it."


def base_revision(revision: str | None, weights: Any) -> str:
    """A cell of the card; `weights` as of `base_check`."""
    return code(revision) if revision else "none; known by its weights" if weights else code("not recorded")


def base_check(revision: str | None, weights: Any) -> str:
    """Who sees that an adapter stands on the base that it was trained on.

    Args:
        weights: of a base in a folder, their hashes, where the run recorded them.
    """
    what = "base revision" if revision else "base"
    if revision:
        other = "another\nrevision than the one above"
        checked = "mmpref compares the revisions when it loads an adapter."
    else:
        other = "other\nweights than those that it was trained on"
        checked = (
            "mmpref compares a base in a folder with their SHA-256, which `run.json` has, when it loads an adapter."
            if weights
            else "Which these were was not recorded."
        )
    return (
        f"**Plain clients do not check the {what}.** `PeftModel.from_pretrained` puts the adapter on whatever base you "
        f"give it; on {other} it gives other answers without a warning. {checked}"
    )
