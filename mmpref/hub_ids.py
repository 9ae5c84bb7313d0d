"""Names of Hub repositories as people paste them: an address of a page stands for ``OWNER/NAME``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from mmpref.errors import UsageError

_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co")
_KINDS = {"datasets": "dataset", "spaces": "space", "models": "model"}
_AT = ("tree", "blob", "resolve", "raw", "commit", "commits")
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")


@dataclass(frozen=True)
class HubPage:
    """What a page of the Hub shows.

    Args:
        repo_id: ``OWNER/NAME``.
        kind: ``dataset``, ``model`` or ``space``.
        revision: branch, tag, commit or pull request (``refs/pr/1``), where the address names one.
        path: the file or folder in it, or "".
    """

    repo_id: str
    kind: str
    revision: str | None = None
    path: str = ""


def hub_page(text: str) -> HubPage | None:
    """The repository that an address names; None where it is no address of the Hub (or of ``HF_ENDPOINT``)."""
    text = text.strip()
    address = urlsplit(f"https://{text}" if text.lower().startswith(tuple(f"{name}/" for name in _HOSTS)) else text)
    if address.scheme not in ("http", "https"):
        return None
    host, endpoint = address.netloc.lower(), urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc.lower()
    if not host or host not in (*_HOSTS, endpoint):
        return None
    parts = [part for part in unquote(address.path).split("/") if part]
    kind = _KINDS.get(parts[0], "model") if parts else "model"
    parts = parts[1:] if parts and parts[0] in _KINDS else parts
    if len(parts) < 2 or not all(_NAME.fullmatch(part) for part in parts[:2]):
        return None
    owner, name, *rest = parts
    revision, inner = None, []
    if len(rest) > 1 and rest[0] in _AT:
        # Pull requests and conversions have slashes in their names: refs/pr/1, refs/convert/parquet.
        length = 3 if rest[1] == "refs" else 1
        revision, inner = "/".join(rest[1 : 1 + length]), rest[1 + length :]
    return HubPage(f"{owner}/{name.removesuffix('.git')}", kind, revision, "/".join(inner))


def repo_id(text: str) -> str:
    """``OWNER/NAME`` where the text is an address of a repository's page; else the text as it is."""
    page = hub_page(text)
    return page.repo_id if page else text


def refuse_page(text: str) -> None:
    """Say what to write in place of an address of the Hub.

    Raises:
        UsageError: it is one.
    """
    # With a fragment it is an endpoint and its model: URL#MODEL.
    if (page := hub_page(text)) and not urlsplit(text).fragment:
        at = f", and {page.revision} as its revision" if page.revision else ""
        raise UsageError(f"{text[:200]} is the address of a page of the Hub.", f"Give the id {page.repo_id}{at}.")
