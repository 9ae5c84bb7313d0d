"""Names of Hub repositories and their commits. An address of a page, as people paste it, stands for ``OWNER/NAME``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mmpref.errors import UsageError
from mmpref.local_paths import is_path

_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co")
_KINDS = {"datasets": "dataset", "spaces": "space", "models": "model"}
_AT = ("tree", "blob", "resolve", "raw", "commit", "commits")
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_DATA = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@[^/]+)?(?:/(.+))?")


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


def repo_id(text: str, kind: str) -> str:
    """``OWNER/NAME`` where the text is an address of a repository's page; else the text as it is.

    Args:
        kind: what is asked for: ``dataset`` or ``model``.

    Raises:
        UsageError: the page is of another kind.
    """
    page = hub_page(text)
    if page and page.kind != kind:
        raise UsageError(f"{text[:200]} is the page of a {page.kind}, not of a {kind}.")
    return page.repo_id if page else text


def model_id(text: str) -> str:
    """The id of a model or adapter where the text is the address of its page as it is on ``main``; else the text as it
    is, such as an id, a folder, or ``URL#MODEL`` of an endpoint.

    Raises:
        UsageError: the page is of another revision, of a part of a repository, or of no model.
    """
    page = hub_page(text)
    if page and page.kind == "model" and page.revision in (None, "main") and not page.path and not _names_model(text):
        return page.repo_id
    refuse_page(text)
    return text


def refuse_page(text: str) -> None:
    """Say what to write in place of an address of the Hub.

    Raises:
        UsageError: it is one.
    """
    if (page := hub_page(text)) and not _names_model(text):
        if page.kind != "model":
            raise UsageError(f"{text[:200]} is the page of a {page.kind}, not of a model.")
        at = f", and {page.revision} as its revision" if page.revision else ""
        part = f"; {page.path[:200]} is a part of it, which has no id" if page.path else ""
        raise UsageError(f"{text[:200]} is the address of a page of the Hub.", f"Give the id {page.repo_id}{at}{part}.")


def _names_model(text: str) -> bool:
    """Whether an address has a fragment: it is an endpoint and its model then, ``URL#MODEL``."""
    return bool(urlsplit(text).fragment)


def is_commit(revision: object) -> bool:
    """Whether a revision is a commit of the Hub, which only things that come from the Hub have."""
    return isinstance(revision, str) and bool(_COMMIT.fullmatch(revision))


def is_hub_id(name: object) -> bool:
    """Whether `name` has the form of a Hub repository id; a local path or ``pkg:`` reference has not."""
    return isinstance(name, str) and bool(_ID.fullmatch(name)) and ".." not in name and not name.endswith(".git")


def dataset_of(table: str) -> tuple[str | None, str]:
    """The Hub's dataset in a table's name, ``OWNER/NAME`` or ``hf://datasets/OWNER/NAME[@REVISION]/FILE``, and the file
    in it, or ""; no dataset where it has the form of neither."""
    if named := _HUB_DATA.fullmatch(table):
        return named[1], named[2] or ""
    return (table, "") if is_hub_id(table) else (None, "")


def name_for_others(model: str) -> str:
    """What a model is called where others read it: a folder by its own name, without where it is on this machine; an
    endpoint (``URL#MODEL``) too, whose model may be named so. Any other as it is."""
    url, mark, served = model.partition("#")
    if url.startswith(("http://", "https://")):
        return f"{url}{mark}{name_for_others(served)}" if served else model
    is_folder = is_path(model) or Path(model).exists()
    return Path(model).expanduser().resolve().name if is_folder and not model.startswith("pkg:") else model


def refuse_revision_alone(adapter: str | None, adapter_revision: str | None) -> None:
    """Refuse a revision of an adapter that is not named.

    Raises:
        UsageError: there is one.
    """
    if adapter_revision and not adapter:
        raise UsageError("There is no adapter that adapter_revision could be of.", "Name it with --adapter.")


def refuse_revision_here(name: str, revision: str | None, option: str = "--revision") -> None:
    """Refuse a revision of what is on this machine, where nothing has one.

    Args:
        name: of what is no repository of the Hub.
        option: that gives the revision.

    Raises:
        UsageError: there is one.
    """
    if revision:
        raise UsageError(
            f"{name} is on this machine, so {option} has no use: nothing here has a revision.",
            "Leave it out, or name what is on the Hub.",
        )
