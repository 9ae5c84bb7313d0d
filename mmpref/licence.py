"""What the card of a dataset or model says of its licence. A card that cannot be read is not one that says nothing.

A licence is one of:

* None: nobody states one (no card, or one without such a field);
* `UNREADABLE`: there is a card, or a licence file, and mmpref cannot tell from it what holds;
* the text of the card: an id, a free name, or several joined by `AND`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import InputError, UsageError
from mmpref.registry import suggest
from mmpref.text_files import read_text

UNREADABLE = "unreadable"
"""There is something that states the licence, and it cannot be read."""
AND = " and "
"""Between the licences of a card that names several, and those of several sources."""
CARD = "README.md"

# Ids of the Hub: https://huggingface.co/docs/hub/repositories-licenses
LICENCES = frozenset(
    (
        "apache-2.0",
        "mit",
        "openrail",
        "bigscience-openrail-m",
        "creativeml-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigcode-openrail-m",
        "afl-3.0",
        "artistic-2.0",
        "bsl-1.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cdla-sharing-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "wtfpl",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "agpl-3.0",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "isc",
        "h-research",
        "intel-research",
        "lppl-1.3c",
        "ms-pl",
        "apple-ascl",
        "apple-amlr",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "open-mdw",
        "openmdw-1.0",
        "openrail++",
        "osl-3.0",
        "postgresql",
        "ofl-1.1",
        "ncsa",
        "unlicense",
        "zlib",
        "pddl",
        "lgpl-lr",
        "deepfloyd-if-license",
        "fair-noncommercial-research-license",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "grok2-community",
        "gemma",
        "unknown",
        "other",
    )
)

_FIELDS = ("license", "licence", "licenses", "licences")
_FRONT_MATTER = re.compile(r"\s*---[ \t]*\n(?P<yaml>.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_MATTER_START = re.compile(r"\s*---[ \t]*\n\s*[A-Za-z_]+[ \t]*:")
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying)(\.(md|txt|rst))?", re.IGNORECASE)
_PARENTS = 2
_MAX_CHARACTERS = 200
"""Characters of a licence's name that are kept."""


def metadata_of(card: str) -> dict[str, Any] | None:
    """The metadata at the top of a card; empty where it has none, None where they cannot be read."""
    import yaml

    match = _FRONT_MATTER.match(card)
    if match is None:
        return None if _FRONT_MATTER_START.match(card) else {}
    try:
        metadata = yaml.safe_load(match["yaml"])
    except (yaml.YAMLError, ValueError, RecursionError):  # A date such as 2024-13-45 is a ValueError.
        return None
    return {} if metadata is None else metadata if isinstance(metadata, dict) else None


def licence_in(metadata: Mapping[Any, Any] | None) -> str | None:
    """The licence that metadata state; `UNREADABLE` where they, or it, cannot be read."""
    if metadata is None:
        return UNREADABLE
    stated = [value for key, value in metadata.items() if str(key).strip().lower() in _FIELDS and not _empty(value)]
    if not stated:
        return None
    names = [name for value in stated for name in (value if isinstance(value, list) else [value])]
    if not all(isinstance(name, str) and name.strip() for name in names):
        return UNREADABLE
    license_name = metadata.get("license_name")
    license_name = " ".join(license_name.split()) if isinstance(license_name, str) else ""
    # A name says more than ``other``. One that is some licence's id would say too much.
    other = "other" if license_name.lower() in LICENCES else license_name or "other"
    plain = [" ".join(name.split()) for name in names]
    return join_licences(other if name.lower() == "other" else name for name in plain)


def licence_of_card(card: str) -> str | None:
    """The licence that a card's text states."""
    return licence_in(metadata_of(card))


def licence_of_folder(folder: Path) -> str | None:
    """The licence of what lies in a folder: as its card states it, or a card of the two folders above it (data lie in
    ``data/`` and ``data/train/`` of a repository)."""
    for place in [folder, *folder.parents][: 1 + _PARENTS]:
        card = place / CARD
        try:
            stated = licence_of_card(read_text(card)) if card.is_file() else None
            if stated is None and place == folder and has_licence_file(file.name for file in place.iterdir()):
                stated = UNREADABLE
        except (InputError, OSError):
            stated = UNREADABLE
        if stated is not None or (place / ".git").exists():
            return stated
    return None


def with_licence(source: Mapping[str, Any], licence: str | None, before: str | None = None) -> dict[str, Any]:
    """The facts of a source with the licence that its owner gives for what states none itself.

    Args:
        source: ``id`` and ``licence``, and ``sources`` where there are several.
        licence: an id of the Hub; None leaves everything as it is.
        before: the one that the owner gave before, in its place where one is missing still.

    Raises:
        UsageError: no such id, or a source that states another licence.
    """
    entries = source.get("sources") or [source]
    if licence is None and not all(map(_states, entries)):
        licence = before
    if licence is None:
        return dict(source)
    given = licence.strip().lower()
    if given not in LICENCES - {"unknown"}:
        raise UsageError(f"{licence!r} is no licence id of the Hub.", suggest(given, sorted(LICENCES - {"unknown"})))
    if all(_states(entry) and str(entry["licence"]).lower() != given for entry in entries):
        raise UsageError(
            f"{source['id']} states its licence itself: {source['licence']}.",
            "--license is for data that state none; leave it out.",
        )
    stated = [entry if _states(entry) else {**entry, "licence": given} for entry in entries]
    joined = join_licences(entry["licence"] for entry in stated)
    return {**source, "licence": joined, **({"sources": stated} if "sources" in source else {})}


def _states(source: Mapping[str, Any]) -> bool:
    return not _empty(source.get("licence")) and source["licence"] != "unknown"


def has_licence_file(names: Iterable[str]) -> bool:
    """Whether one of the files of a folder holds the text of a licence."""
    return any(_LICENCE_FILE.fullmatch(name) for name in names)


def join_licences(licences: Iterable[str | None]) -> str | None:
    """Several licences as one text, each once; None where none of them is stated."""
    names = list(dict.fromkeys(licence for licence in licences if licence))
    return AND.join(names)[:_MAX_CHARACTERS] or None


def join_sources(common: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of several sources as of one.

    Args:
        common: what they have in common beside ``licence``, and the ``id`` of all.
        sources: each with its ``licence``.
    """
    # Where one of several states none, nobody states what holds for all.
    licences = join_licences(source.get("licence") or "unknown" for source in sources)
    return {**common, "licence": None if licences == "unknown" else licences, "sources": list(sources)}


def _empty(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())
