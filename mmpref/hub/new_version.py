"""The card of an earlier model, made to point to its new version (``new_version``): the Hub then shows a link there."""

from __future__ import annotations

from typing import Any

import yaml

from mmpref.errors import HubError, UsageError
from mmpref.hub._local_files import CARD
from mmpref.hub._remote import Content
from mmpref.hub.access import check_repo_id
from mmpref.hub.cards.merge import front_matter_blocks, join_card, split_card
from mmpref.hub.publish import publish_folder
from mmpref.hub.published import Published
from mmpref.hub.target import Target, find_target
from mmpref.run.scratch import scratch

_KEY = "new_version"


def check_old_version(old: str, new: Target, **where: Any) -> str:
    """Check, before anything is published, that the old card can be written, and may name the new model.

    Args:
        old: a model repository, by its name alone where it is one's own.
        new: the one that will be published to.
        where: ``token`` and ``endpoint``, as of `mmpref.hub.publish.publish_folder`.

    Returns:
        The old one's full id.

    Raises:
        UsageError: both are one, the old one is not there, or it is public and the new one is not.
        HubError: no token, or one that may not write there.
    """
    check_repo_id(old)
    target = find_target(old, "model", **where)
    if target.repo_id == new.repo_id:
        raise UsageError(f"{new.repo_id} is no new version of itself.", "Name the earlier model with --new-version-of.")
    if not target.exists:
        raise UsageError(
            f"There is no model repository {target.repo_id}, whose card could point to {new.repo_id}.",
            "Name the earlier model with --new-version-of, or leave it out.",
        )
    if new.private and not target.private:
        raise UsageError(
            f"{target.url} is public, and its card would name the private {new.repo_id}; nothing was uploaded.",
            "Leave --new-version-of out, and publish again with it once the new model is public.",
        )
    return target.repo_id


def point_to_new_version(old: str, new: str, *, create_pr: bool = False, **where: Any) -> Published:
    """Write the new model's id into the old one's card, and nothing else; where it is there already, nothing happens.

    Raises:
        HubError: the old card's metadata is not YAML, or the Hub refuses.
    """
    with scratch("publish") as folder:
        (folder / CARD).write_text(with_new_version("", new), encoding="utf-8")
        content = Content(
            folder, f"New version: {new}", merge_card=lambda card, ours: with_new_version(card or "", new)
        )
        return publish_folder(content, old, "model", create_pr=create_pr, **where)


def with_new_version(card: str, new: str) -> str:
    """A card with its ``new_version`` set; everything else stays as it is written there.

    Raises:
        HubError: its metadata is not YAML.
    """
    front, body = split_card(card)
    try:
        blocks = front_matter_blocks(front)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise HubError(f"The card's metadata is not valid YAML ({reason}).", "Repair README.md there.") from error
    return join_card({**blocks, _KEY: yaml.safe_dump({_KEY: new})}.values(), body)
