"""Tables from the Hub: the revision is resolved to a commit first, and that commit is what is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mmpref.errors import HubError, InputError
from mmpref.tables import FORMATS, HUB_FILE, Origin, Table, tables_hint
from mmpref.tables._datasets import load_errors, undecoded
from mmpref.tables._files import read_files
from mmpref.tables._local import raw_files, refuse_raw_split

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

_SEVERAL = 8
"""So many file names are named in a message."""


def open_hub(
    spec: str, split: str, config: str | None, revision: str | None, origin: Origin | None = None
) -> Table:  # fmt: skip
    """Open one split of a Hub dataset. Files that the origin names, or the only data file beside a loading script
    (which the ``datasets`` library no longer runs), are read as they are.

    Raises:
        InputError: no such dataset, revision, configuration or split, or it is closed to this user.
        HubError: the Hub cannot be reached.
    """
    import datasets
    from huggingface_hub import constants

    info = _info(spec, revision)
    names = _files(info)
    if raw := (raw_files(origin, names) if origin else []) or _beside_script(spec, names):
        embedded = all(name.endswith(".parquet") for name in raw)
        archives = [name for name in (origin.archives if origin and not embedded else ()) if name in names]
        return _of_raw(spec, spec, split, info, raw, archives)
    with load_errors(f"{spec} (split {split!r} at {info.sha})"), _download_errors(spec):
        loaded = datasets.load_dataset(spec, config, split=split, revision=info.sha)
    roots = [Path(constants.HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE)]
    return Table(spec, split, info.sha, info.sha or "", _licence(info), lambda: undecoded(loaded, roots))


def open_hub_file(spec: str, split: str, revision: str | None) -> Table:
    """Open one file of a Hub dataset: ``hf://datasets/OWNER/NAME[@REVISION]/PATH``, as huggingface_hub writes it.

    Raises:
        InputError: not of that form, no such file or dataset, or no data file that mmpref reads.
        HubError: the Hub cannot be reached.
    """
    owner, _, rest = spec.removeprefix(HUB_FILE).partition("/")
    name, _, path = rest.partition("/")
    name, _, at = name.partition("@")
    if not (owner and name) or (path and not path.endswith(FORMATS)):
        raise InputError(
            f"{spec} names no data file of a Hub dataset.",
            f"The form is {HUB_FILE}OWNER/NAME[@REVISION]/PATH; known formats: {', '.join(FORMATS)}.",
        )
    repo = f"{owner}/{name}"
    if not path:
        return open_hub(repo, split, None, at or revision)
    info = _info(repo, at or revision)
    names = _files(info)
    if path not in names:
        raise InputError(f"The dataset {repo} has no file {path}.", _naming(names))
    return _of_raw(spec, repo, split, info, [path], [])


def _of_raw(
    spec: str, repo: str, split: str, info: DatasetInfo, names: Sequence[str], archives: Sequence[str]
) -> Table:
    from huggingface_hub import hf_hub_download

    refuse_raw_split(spec, split, names)

    def fetched(name: str) -> Path:
        return Path(hf_hub_download(repo, name, repo_type="dataset", revision=info.sha))

    with load_errors(f"{repo} (at {info.sha})"), _download_errors(repo):
        files, images = [fetched(name) for name in names], tuple(fetched(name) for name in archives)
    fingerprint = f"{info.sha} {' '.join(names)}"
    return Table(spec, split, info.sha, fingerprint, _licence(info), lambda: read_files(files), archives=images)


def _beside_script(spec: str, names: Sequence[str]) -> list[str]:
    """The data file of a repository with a loading script.

    Raises:
        InputError: there are several, or none.
    """
    if f"{spec.split('/')[-1]}.py" not in names:
        return []
    found = [name for name in names if PurePosixPath(name).suffix in FORMATS and name != "dataset_infos.json"]
    if len(found) != 1:
        raise InputError(f"The dataset {spec} has a loading script, which is not run, and {len(found)} data files.",
                         _naming(found))  # fmt: skip
    return found


def _naming(names: Sequence[str]) -> str:
    data = [name for name in names if name.endswith(FORMATS)]
    more = ", ..." if len(data) > _SEVERAL else ""
    return f"Name one as {HUB_FILE}OWNER/NAME/PATH. There are: {', '.join(data[:_SEVERAL]) or 'none'}{more}."


def _files(info: DatasetInfo) -> list[str]:
    return [sibling.rfilename for sibling in info.siblings or ()]


def _licence(info: DatasetInfo) -> str | None:
    licence = info.card_data.get("license") if info.card_data else None
    return licence if isinstance(licence, str) else None


def _http_error() -> type[Exception]:
    """The HTTP library's own base class (httpx or httpx2, as huggingface_hub's version has it)."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__mro__[1]
    return base


@contextlib.contextmanager
def _download_errors(spec: str) -> Iterator[None]:
    from huggingface_hub import HfApi

    try:
        yield
    except _http_error() as error:
        raise HubError(f"The dataset {spec} could not be downloaded from {HfApi().endpoint}: {error}",
                       "Check the network and run the same command again.") from error  # fmt: skip


def _info(spec: str, revision: str | None) -> DatasetInfo:
    """What the Hub knows of a dataset at a revision.

    Raises:
        InputError: no such dataset or revision, or it is closed to this user.
        HubError: the Hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi()
    try:
        return api.dataset_info(spec, revision=revision)
    except GatedRepoError as error:
        raise InputError(f"The dataset {spec!r} is gated.", f"Ask for access on its page at {api.endpoint}, and log in "
                         "(hf auth login).") from error  # fmt: skip
    except RevisionNotFoundError as error:
        raise InputError(f"The dataset {spec!r} has no revision {revision!r}.", "Check it on its Hub page.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(
            f"There is no table, file or folder {spec!r}, nor such a dataset at {api.endpoint} (or it is private).",
            f"{tables_hint(spec)} For a private dataset log in (hf auth login).",
        ) from error
    except (_http_error(), OSError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise HubError(
            f"There is no table, file or folder {spec!r}, and the Hub at {api.endpoint} cannot be asked for a "
            f"dataset of that name: {reason}.",
            tables_hint(spec),
        ) from error
