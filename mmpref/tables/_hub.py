"""Tables from the Hub: the revision is resolved to a commit first, and that commit is what is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmpref.errors import HubError, InputError
from mmpref.local_paths import FORMATS, TABULAR, is_data_file
from mmpref.tables._cached import cached_split, refuse_gaps
from mmpref.tables._datasets import load_errors, undecoded
from mmpref.tables._files import read_files
from mmpref.tables._local import raw_files, refuse_raw_split
from mmpref.tables._repository import Repository, download_errors, repository
from mmpref.tables.table import HUB_FILE, Origin, Table

_SEVERAL = 8
"""So many file names are named in a message."""


def open_hub(spec: str, split: str, config: str | None, revision: str | None, origin: Origin | None = None) -> Table:
    """Open one split of a Hub dataset. Files that the origin names, or the only data file beside a loading script
    (which the ``datasets`` library no longer runs), are read as they are.

    Raises:
        InputError: no such dataset, revision, configuration or split, or it is closed to this user.
        HubError: the Hub cannot be reached.
    """
    import datasets
    from huggingface_hub import constants

    repo_info = repository(spec, revision)
    names = repo_info.files
    if raw := (raw_files(origin, names) if origin else []) or _beside_script(spec, names):
        embedded = all(name.endswith(".parquet") for name in raw)
        archives = [name for name in (origin.archives if origin and not embedded else ()) if name in names]
        return _of_raw(spec, spec, split, repo_info, raw, archives)
    where = f"{spec} (split {split!r} at {repo_info.commit})"
    with load_errors(where), download_errors(spec):
        if repo_info.online:
            loaded = datasets.load_dataset(spec, config, split=split, revision=repo_info.commit)
        else:
            loaded = cached_split(spec, repo_info, split, config)
    if not all(repo_info.commit in Path(file["filename"]).parts for file in loaded.cache_files if repo_info.online):
        # The library falls back to whatever commit its cache has where a download fails.
        raise HubError(f"The dataset {where} could not be downloaded.", "Check the network and run it again.")
    roots = [Path(constants.HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE)]
    return Table(spec, split, repo_info.commit, repo_info.commit, repo_info.licence, lambda: undecoded(loaded, roots))


def open_hub_file(
    spec: str, split: str, config: str | None, revision: str | None, origin: Origin | None = None
) -> Table:
    """Open one file of a Hub dataset: ``hf://datasets/OWNER/NAME[@REVISION]/PATH``, as huggingface_hub writes it; or
    without a path the dataset, as `open_hub` does.

    Raises:
        InputError: not of that form, no such file or dataset, or no data file that mmpref reads.
        HubError: the Hub cannot be reached.
    """
    owner, _, rest = spec.removeprefix(HUB_FILE).partition("/")
    name, _, path = rest.partition("/")
    name, _, at = name.partition("@")
    if not (owner and name) or (path and not is_data_file(path)):
        raise InputError(
            f"{spec} names no data file of a Hub dataset.",
            f"The form is {HUB_FILE}OWNER/NAME[@REVISION]/PATH; known formats: {', '.join(FORMATS)}.",
        )
    repo = f"{owner}/{name}"
    if not path:
        return open_hub(repo, split, config, revision or at or None, origin)
    repo_info = repository(repo, revision or at or None)
    if path not in repo_info.files:
        raise InputError(f"The dataset {repo} has no file {path}.", _naming(repo_info.files))
    return _of_raw(spec, repo, split, repo_info, [path], [])


def _of_raw(
    spec: str, repo: str, split: str, repo_info: Repository, names: Sequence[str], archives: Sequence[str]
) -> Table:
    from huggingface_hub import hf_hub_download

    refuse_raw_split(spec, split, names)
    refuse_gaps(repo, repo_info, names)

    def fetched(name: str) -> Path:
        return Path(hf_hub_download(repo, name, repo_type="dataset", revision=repo_info.commit))

    with load_errors(f"{repo} (at {repo_info.commit})"), download_errors(repo):
        files, images = [fetched(name) for name in names], tuple(fetched(name) for name in archives)
    fingerprint = f"{repo_info.commit} {' '.join(names)}"
    return Table(
        spec, split, repo_info.commit, fingerprint, repo_info.licence, lambda: read_files(files), archives=images
    )


def _beside_script(spec: str, names: Sequence[str]) -> list[str]:
    """The data file of a repository with a loading script.

    Raises:
        InputError: there are several, or none.
    """
    if f"{spec.split('/')[-1]}.py" not in names:
        return []
    data = [name for name in names if PurePosixPath(name).suffix in TABULAR and name != "dataset_infos.json"]
    if len(data) != 1:
        raise InputError(
            f"The dataset {spec} has a loading script, which is not run, and {len(data)} data files.", _naming(data)
        )
    return data


def _naming(names: Sequence[str]) -> str:
    data = [name for name in names if is_data_file(name)]
    more = ", ..." if len(data) > _SEVERAL else ""
    return f"Name one as {HUB_FILE}OWNER/NAME/PATH. There are: {', '.join(data[:_SEVERAL]) or 'none'}{more}."
