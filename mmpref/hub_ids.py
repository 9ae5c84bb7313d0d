"""Addresses of Hub pages, as people paste them: which repository, and which revision of it, they stand for."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from mmpref.errors import UsageError

_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_PATH = re.compile(r"/(?:(datasets|spaces)/)?([\w.-]+/[\w.-]+)(?:/(?:tree|blob|resolve|commit)/([^/]+))?(?:/.*)?")


@dataclass(frozen=True)
class Page:
    """A page of a repository.

    Args:
        kind: of the repository.
        id: ``OWNER/NAME``.
        revision: that the address names, if it names one.
    """

    kind: Literal["model", "dataset", "space"]
    id: str
    revision: str | None = None


def page_of(text: str) -> Page | None:
    """The page that an address of the Hub names; None for any other text, such as an id or an endpoint's URL."""
    if not text.startswith(("http://", "https://")):
        return None
    address = urlsplit(text)
    own = os.environ.get("HF_ENDPOINT")
    if address.netloc not in (*_HOSTS, urlsplit(own).netloc if own else ""):
        return None
    named = _PATH.fullmatch(address.path.rstrip("/"))
    if named is None or address.fragment:  # URL#MODEL is an endpoint
        return None
    kinds: dict[str | None, Literal["model", "dataset", "space"]] = {"datasets": "dataset", "spaces": "space"}
    return Page(kinds.get(named[1], "model"), named[2], unquote(named[3]) if named[3] else None)


def repo_id(text: str) -> str:
    """``OWNER/NAME`` of an address of the Hub, whatever the page; any other text as it is.

    An address that names a revision stands for less than its repository: use `page_of` where that matters.
    """
    page = page_of(text)
    return page.id if page else text


def refuse_page(text: str) -> None:
    """Say what to write in place of an address of the Hub.

    Raises:
        UsageError: it is one.
    """
    if page := page_of(text):
        at = f", and {page.revision} as its revision" if page.revision else ""
        raise UsageError(f"{text[:200]} is the address of a page of the Hub.", f"Give the id {page.id}{at}.")
