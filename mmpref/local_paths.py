"""Names that may be paths of this machine: which can be nothing else, which are of data files, and what is near one
where nothing is; and the folder of what is kept from one command to the next."""

from __future__ import annotations

import contextlib
import difflib
import os
from itertools import islice
from pathlib import Path

_TEXT_FORMATS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
TABULAR = (*_TEXT_FORMATS, ".parquet", *(f"{suffix}.gz" for suffix in _TEXT_FORMATS))
FORMATS = (*TABULAR, ".arrow", ".tar", ".tar.gz")
"""Suffixes of the data files that are read without the ``datasets`` library's cache. Beside tabular files, those of the
other formats are taken for something else (caches, archives of images)."""
_LOOKED_AT = 10_000
"""Entries of a folder among which a name is looked for."""


def is_path(name: str) -> bool:
    """Whether a name has a form that no id of the Hub has."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def is_data_file(name: str, formats: tuple[str, ...] = FORMATS) -> bool:
    """Whether a file of that name is read as rows, whatever the letter case of its ending."""
    return name.lower().endswith(formats)


def names_file(text: str) -> bool:
    """Whether a setting's text is the path of a file that is there."""
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError):  # a prompt is no path
        return False


def near_path(name: str) -> str:
    """The path that is most like one that is not there: for each part that is missing, the closest one beside it, as
    far as there are any; "" where nothing is close.

    >>> near_path("runs/builld/dataset")  # doctest: +SKIP
    'runs/build/dataset'
    """
    path, near, corrected = Path(name).expanduser(), Path(), False
    for part in path.parts:
        if not (near / part).exists():
            close = difflib.get_close_matches(part, _entries(near), n=1)
            if not close:
                break
            part, corrected = close[0], True
        near /= part
    return str(near) if corrected else ""


def path_hint(name: str, otherwise: str = "") -> str:
    """What to do where a path names nothing.

    Args:
        otherwise: what to say where nothing is near it.
    """
    return f"Did you mean {near!r}?" if (near := near_path(name)) else otherwise


def check_hint(name: str, what: str = "Check the path.") -> str:
    """The same of what can only be a path, with the folder that a relative one was looked for in."""
    if not name.startswith("pkg:") and not Path(name).expanduser().is_absolute():
        with contextlib.suppress(OSError):  # that folder may be gone
            what += f" It was looked for from {Path.cwd()}, the folder that paths in recipe files count from too."
    return path_hint(name, what)


def _entries(folder: Path) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, _LOOKED_AT)]
    return []


def cache_folder() -> Path:
    """``$MMPREF_CACHE``, else ``mmpref`` in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("MMPREF_CACHE") or cache / "mmpref").expanduser()
