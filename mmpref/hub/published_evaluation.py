"""An evaluation that was published, by its address: fetched at a commit, to be compared with.

``hf://datasets/OWNER/NAME[@REVISION]`` are the records of ``mmpref publish RUN --hub-dataset-id``,
``hf://OWNER/NAME[@REVISION]`` those beside a model (``--push-samples``), which keeps each evaluation in a folder of its
own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download

from mmpref.errors import HubError, InputError
from mmpref.hub._calls import CALL_ERRORS
from mmpref.hub.access import RepoType
from mmpref.run.manifest import MANIFEST
from mmpref.run.results import RESAMPLES, RESULTS

ADDRESS = "hf://"
_FORM = re.compile(r"hf://(?P<kind>datasets/)?(?P<repo>[^/@]+/[^/@]+)(?:@(?P<at>[^/]+))?(?:/(?P<path>.+?))?/?")


@dataclass(frozen=True)
class PublishedEvaluation:
    """Where an evaluation was fetched to.

    Args:
        path: its folder, as a run's.
        name: repository and commit, for readers.
    """

    path: Path
    name: str


def fetch_evaluation(address: str) -> PublishedEvaluation:
    """Download the results, resamples and records of a published evaluation at the commit that its revision names.

    Raises:
        InputError: no address, no such repository or revision, no evaluation in it, or several.
        HubError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    match = _FORM.fullmatch(address)
    if not match:
        raise InputError(
            f"{address} is no address of a published evaluation.",
            "The form is hf://datasets/OWNER/NAME[@REVISION], or hf://OWNER/NAME[@REVISION] of a model.",
        )
    kind: RepoType = "dataset" if match["kind"] else "model"
    repo = match["repo"]
    try:
        api = HfApi(endpoint=constants.ENDPOINT)
        info = api.repo_info(repo, repo_type=kind, revision=match["at"])
        files = [str(file.rfilename) for file in getattr(info, "siblings", None) or []]
        folder = _folder(address, files, match["path"] or "")
        root = _fetched(api, repo, kind, str(info.sha), [name for name in files if _is_of(name, folder)])
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(f"There is no {kind} {address}, or it is closed to you.", "Check the name.") from error
    except CALL_ERRORS as error:
        raise HubError(f"{address} cannot be fetched: {' '.join(str(error).split())[:300]}") from error
    return PublishedEvaluation(root / folder, f"{repo}@{str(info.sha)[:8]}")


def _is_of(name: str, folder: str) -> bool:
    """Whether a file belongs to the evaluation of a folder."""
    inner = name.removeprefix(folder)
    return name.startswith(folder) and (
        inner in (RESULTS, RESAMPLES, MANIFEST) or bool(re.fullmatch(r"samples/[^/]+\.parquet", inner))
    )


def _fetched(api: HfApi, repo: str, kind: RepoType, commit: str, names: list[str]) -> Path:
    """The folder in the cache that holds these files of a commit."""
    for name in names:
        file = Path(hf_hub_download(repo, name, repo_type=kind, revision=commit, endpoint=api.endpoint))
    return file.parents[names[-1].count("/")]


def _folder(address: str, files: list[str], path: str) -> str:
    """The folder of the evaluation in the repository, "" or with a slash at its end.

    Raises:
        InputError: there is none, or there are several.
    """
    found = [
        name.removesuffix(RESULTS)
        for name in files
        if name.split("/")[-1] == RESULTS and name.startswith(f"{path}/" if path else "")
        if f"{name.removesuffix(RESULTS)}{MANIFEST}" in files
    ]
    with_records = [folder for folder in found if any(name.startswith(f"{folder}samples/") for name in files)]
    if len(with_records) != 1:
        what = "several evaluations" if with_records else "no evaluation with its records"
        names = ", ".join(f"{address.rstrip('/')}/{folder.rstrip('/')}" for folder in with_records)
        hint = f"Name one: {names}." if names else "They are published by `mmpref publish RUN --push-samples`."
        raise InputError(f"{address} holds {what}.", hint)
    return with_records[0]
