"""What names on the Hub mean in work of several runs: a chain's rounds are of one model and one data, whatever is
committed to their repositories between them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from mmpref.hub_ids import is_commit
from mmpref.run.files import write_atomic
from mmpref.text_files import read_json

_file: ContextVar[Path | None] = ContextVar("_file", default=None)


@contextlib.contextmanager
def keeping_commits(file: Path) -> Iterator[None]:
    """Within it a name means the commit that it meant first; the file keeps them for a restart."""
    token = _file.set(file)
    try:
        yield
    finally:
        _file.reset(token)


def first_meaning(name: str, revision: str | None, resolve: Callable[[str | None], str]) -> str:
    """The commit of a repository at a revision, within `keeping_commits` as it was resolved first.

    Args:
        name: of the repository, with its kind where it is no model.
        resolve: asks for a revision's commit.
    """
    file = _file.get()
    if file is None or is_commit(revision):
        return resolve(revision)
    known, asked = read_json(file) if file.is_file() else {}, f"{name}@{revision or 'main'}"
    if asked in known:
        return resolve(known[asked])
    commit = resolve(revision)
    write_atomic(file, json.dumps({**known, asked: commit}, indent=2) + "\n")
    return commit
