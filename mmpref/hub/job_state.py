"""The state of a run that works in jobs: one archive in a dataset repository, so that the next job goes on from it.

An archive is one file, and its upload one commit: whoever reads it sees the folder as it was when nobody worked in it.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

from mmpref.errors import HubError
from mmpref.hub._calls import CALL_ERRORS, Calls, Retry, quiet_unless_watched
from mmpref.hub.access import usual_token
from mmpref.hub.target import find_target
from mmpref.run.scratch import scratch

CACHES = ("features-", "reference-")
"""Files of a training that are made again, and are large."""


class JobState:
    """Of one run.

    Args:
        repo_id: ``NAMESPACE/NAME`` of a dataset repository, made private where it is missing.
        name: of the run in it.
        endpoint: of the Hub, for tests.

    Raises:
        UsageError: no such id can be.
        HubError: no token, or one that may not write there, or a public repository.
    """

    def __init__(self, repo_id: str, name: str, *, endpoint: str | None = None, retry: Retry | None = None) -> None:
        where, token = endpoint or constants.ENDPOINT, usual_token()
        self.repo_id = find_target(repo_id, "dataset", private=True, endpoint=endpoint).repo_id
        self.file = f"{name}.tar"
        self.label = f"{self.file} of the dataset {self.repo_id}"
        self._api = HfApi(endpoint=where, token=token)
        self._calls = Calls(self.repo_id, where, token, retry or Retry())

    def exists(self) -> bool:
        """Whether an earlier job has left one."""
        try:
            return self._api.file_exists(self.repo_id, self.file, repo_type="dataset")
        except CALL_ERRORS as error:
            raise self._calls.explain("look for the state", error) from error

    def restore(self, folder: Path) -> bool:
        """Unpack what an earlier job has left into the folder of the run; whether there was anything.

        Raises:
            HubError: the Hub does not give it out, or it is damaged.
        """
        if folder.exists():  # a job that is tried again on the same machine
            return True
        with scratch("state") as place:
            try:
                path = self._calls.run("read the state", lambda: self._download(place))
            except HubError as error:
                if isinstance(error.__cause__, RemoteEntryNotFoundError | RepositoryNotFoundError):
                    return False
                raise
            try:
                _unpack(path, folder)
            except (tarfile.TarError, EOFError) as error:
                raise HubError(
                    f"{self.file} of {self.repo_id} is damaged ({error}).", "Delete it there: the run starts anew."
                ) from error
        return True

    def _download(self, place: Path) -> str:
        return self._api.hf_hub_download(self.repo_id, self.file, repo_type="dataset", local_dir=place)

    def keep(self, folder: Path) -> None:
        """Upload the folder of the run, in which nobody works.

        Raises:
            HubError: the Hub refused, or did not answer within the retries.
        """
        if not folder.is_dir():
            return
        with scratch("state") as place, quiet_unless_watched():
            path = place / self.file
            with tarfile.open(path, "w") as archive:
                for file in sorted(folder.rglob("*")):
                    if not file.name.startswith(CACHES):
                        archive.add(file, file.relative_to(folder).as_posix(), recursive=False)
            self._calls.run(
                "make the repository of the state",
                lambda: self._api.create_repo(self.repo_id, repo_type="dataset", private=True, exist_ok=True),
            )
            self._calls.run("keep the state", lambda: self._upload(path))

    def _upload(self, path: Path) -> None:
        self._api.upload_file(
            path_or_fileobj=path,
            path_in_repo=self.file,
            repo_id=self.repo_id,
            repo_type="dataset",
            commit_message=f"State of {path.stem}",
        )


def _unpack(archive: str, folder: Path) -> None:
    """Beside the folder first: what is cut halfway must not pass for the state."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        whole = Path(beside) / "whole"
        whole.mkdir()
        with tarfile.open(archive) as opened:
            opened.extractall(whole, filter="data")
        os.replace(whole, folder)
