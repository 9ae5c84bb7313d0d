"""What the Hub knows of a dataset repository at a revision, and what of that is known without it.

Every answer is kept beside huggingface_hub's cache. Where the Hub cannot be asked (``HF_HUB_OFFLINE``, no network) the
last answer for that revision holds, or the commit that the cache itself has under that name: whoever has the files can
work.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmpref.errors import HubError, InputError, MmprefError
from mmpref.hub_cache import http_error, is_silence, note, was_silent, why_unasked
from mmpref.hub_commits import first_meaning
from mmpref.licence import CARD, UNREADABLE, has_licence_file, licence_in, licence_of_card
from mmpref.log import logger
from mmpref.run.files import write_atomic
from mmpref.tables.table import tables_hint
from mmpref.text_files import read_text

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

_PATIENCE, _TIMEOUT = 10.0, 30.0
"""Seconds for an answer that is known here from before, and for one that is not."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Repository:
    """A dataset repository at a commit.

    Args:
        commit: 40 hexadecimal digits.
        files: paths of all its files; where only the cache is known, of those that are in it.
        licence: as `mmpref.licence` tells it.
        online: whether the Hub was asked just now; otherwise it is known from before, or from the cache.
    """

    commit: str
    files: tuple[str, ...]
    licence: str | None
    online: bool = True


def repository(spec: str, revision: str | None) -> Repository:
    """Resolve a dataset's revision to a commit.

    Args:
        spec: ``OWNER/NAME``.
        revision: branch, tag or commit; by default ``main``.

    Raises:
        InputError: no such dataset or revision, or it is closed to this user.
        HubError: the Hub cannot be reached, and nothing of the dataset is known here.
    """
    found: list[Repository] = []

    def resolve(at: str | None) -> str:
        found.append(_resolved(spec, at))
        return found[0].commit

    first_meaning(f"datasets/{spec}", revision, resolve)
    return found[0]


def _resolved(spec: str, revision: str | None) -> Repository:
    from huggingface_hub import HfApi

    known, endpoint = _cached_answer(spec, revision) or _cached(spec, revision), HfApi().endpoint
    if known and was_silent():
        _log_cached(endpoint, spec, known)
        return known
    try:
        info = _asked(spec, revision, _PATIENCE if known else _TIMEOUT)
    except http_error() as error:
        cause: Exception = error
    except (OSError, ValueError, KeyError) as error:  # such as a page to sign in, in the Hub's place
        cause = error
    else:
        answer = Repository(info.sha or "", tuple(file.rfilename for file in info.siblings or ()), _licence(info))
        _cache_answer(spec, revision, answer)
        note(endpoint, True)
        return answer
    if is_silence(cause):
        note(endpoint, False)
    if known is None:
        raise HubError(
            f"There is no table, file or folder {spec!r} here, and the Hub at {endpoint} cannot be asked for a "
            f"dataset of that name: {why_unasked(cause)}.",
            tables_hint(spec),
        ) from cause
    _log_cached(endpoint, spec, known)
    return known


def _log_cached(endpoint: str, spec: str, known: Repository) -> None:
    logger.info(
        "%s cannot be asked about %s: what is cached here is read, commit %s.", endpoint, spec, known.commit[:8]
    )


def _asked(spec: str, revision: str | None, timeout: float) -> DatasetInfo:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi()
    try:
        return api.dataset_info(spec, revision=revision, timeout=timeout)
    except GatedRepoError as error:
        raise InputError(
            f"The dataset {spec!r} is gated.",
            f"Ask for access on its page at {api.endpoint}, and log in (hf auth login).",
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"The dataset {spec!r} has no revision {revision!r}.", "Check it on its Hub page.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(
            f"There is no table, file or folder {spec!r}, nor such a dataset at {api.endpoint} (or it is private).",
            f"{tables_hint(spec)} For a private dataset log in (hf auth login).",
        ) from error


def _licence(info: DatasetInfo) -> str | None:
    """As the Hub read it in the card; where the Hub found none, as we read the card ourselves."""
    from huggingface_hub import hf_hub_download

    names = [file.rfilename for file in info.siblings or ()]
    stated = licence_in(info.card_data.to_dict()) if info.card_data else None
    if stated is None and CARD in names:
        try:
            stated = licence_of_card(
                read_text(Path(hf_hub_download(info.id, CARD, repo_type="dataset", revision=info.sha)))
            )
        except (InputError, OSError, http_error()):
            return UNREADABLE
    return UNREADABLE if stated is None and has_licence_file(names) else stated


def _answer_file(spec: str, revision: str) -> Path:
    from huggingface_hub import cached_assets_path

    folder = cached_assets_path("mmpref", spec.replace("/", "--"), "datasets")
    return folder / f"{revision.replace('/', '--')}.json"


def _cache_answer(spec: str, revision: str | None, answer: Repository) -> None:
    with contextlib.suppress(OSError, MmprefError):  # a cache that cannot be written is none
        for name in {revision or "main", answer.commit}:
            write_atomic(_answer_file(spec, name), json.dumps(asdict(answer)) + "\n")


def _cached_answer(spec: str, revision: str | None) -> Repository | None:
    try:
        record = json.loads(read_text(_answer_file(spec, revision or "main")))
        return Repository(record["commit"], tuple(record["files"]), record["licence"], online=False)
    except (OSError, ValueError, LookupError, TypeError, InputError):
        return None


def _cached(spec: str, revision: str | None) -> Repository | None:
    """What huggingface_hub's cache has, put there by another program."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.file_download import repo_folder_name

    try:
        folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=spec, repo_type="dataset")
    except HFValidationError:  # no repository's name, as the Hub will say
        return None
    snapshots = [place.name for place in (folder / "snapshots").glob("*") if _COMMIT.fullmatch(place.name)]
    named = folder / "refs" / (revision or "main")
    commit = revision if revision in snapshots else read_text(named).strip() if named.is_file() else None
    if commit not in snapshots:
        return None
    place = folder / "snapshots" / str(commit)
    files = tuple(sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()))
    try:
        licence = licence_of_card(read_text(place / CARD))
    except InputError:
        licence = UNREADABLE
    return Repository(str(commit), files, licence, online=False)


@contextlib.contextmanager
def download_errors(spec: str) -> Iterator[None]:
    """Turn a download that fails into an error that names the dataset."""
    from huggingface_hub import HfApi

    try:
        yield
    except http_error() as error:
        raise HubError(
            f"The dataset {spec} could not be downloaded from {HfApi().endpoint}: {error}",
            "Check the network and run the same command again.",
        ) from error
