"""Where something is going to be published: its repository, whether that is there, who sees it, and whose data it has.

Asked before long work begins, so that nobody learns at its end where it went, or that it could not go there.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from mmpref.errors import HubError, InputError, UsageError
from mmpref.hub._calls import Calls, Retry
from mmpref.hub.access import RepoType, check_access, page_of, usual_token
from mmpref.log import logger
from mmpref.run.manifest import MANIFEST
from mmpref.text_files import NOT_JSON, read_text

REPLACE = "Publish to another repository, or replace what is there with --replace."


@dataclass(frozen=True)
class Target:
    """A repository that something will be published to.

    Args:
        repo_id: "namespace/name".
        url: of its page.
        exists: it is there already.
        private: only its namespace sees it: as it is, or as it will be made.
        files: what it holds.
        run: the recipe hash of the run that it holds; None where it holds none.
    """

    repo_id: str
    repo_type: RepoType
    url: str
    exists: bool
    private: bool
    files: tuple[str, ...] = ()
    run: str | None = None

    @property
    def visibility(self) -> str:
        return "private" if self.private else "public"

    @property
    def sentence(self) -> str:
        """Where it goes, and who will see it."""
        state = "which is there" if self.exists else "which will be made"
        return f"the {self.visibility} {self.repo_type} repository {self.repo_id}, {state} ({self.url})"

    def refuse_replacing(self, run: str, patterns: Sequence[str]) -> None:
        """Refuse to replace the data of another run. Whether a run of the same recipe makes the same is not known
        before: that it must is said.

        Args:
            run: the recipe hash of what will be published.
            patterns: of the files that would be replaced.

        Raises:
            HubError: the repository holds such files, and they are another run's.
        """
        held = [file for file in self.files if any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns)]
        if held and self.run != run:
            raise other_run(self.repo_id, held[0], self.run)
        if held:
            logger.info(
                "%s holds what this recipe made before. Should other data come of it now, they replace that only with "
                "--replace.",
                self.repo_id,
            )


def other_run(repo_id: str, file: str, run: str | None) -> HubError:
    """What is wrong with replacing a file of a repository that is not this run's."""
    whose = f"the run {run[:8]}" if run else "no run of mmpref"
    message = f"{repo_id} holds data of {whose}, such as {file}, that would be replaced; nothing was changed there."
    return HubError(message, REPLACE)


def other_content(repo_id: str, file: str) -> HubError:
    """What is wrong with replacing a file that another run of the same recipe made."""
    message = f"{repo_id} holds other data of the same recipe, such as {file}, that would be replaced"
    return HubError(f"{message}; nothing was changed there.", REPLACE)


def is_public(url: str) -> HubError:
    """What is wrong with a repository that shall be private and is not."""
    message = f"{url} exists and is public; nothing was uploaded."
    return HubError(message, "Make it private in its settings, or choose another name.")


def run_in(manifest: str) -> str | None:
    """The recipe hash that a published ``run.json`` names."""
    try:
        content = json.loads(manifest)
    except NOT_JSON:
        return None
    run = content.get("recipe_hash") if isinstance(content, dict) else None
    return run if isinstance(run, str) else None


def find_target(
    repo_id: str | None,
    repo_type: RepoType,
    *,
    private: bool = False,
    default_name: str = "",
    must_exist: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> Target:
    """Check that pushing can succeed, and see what is there.

    Args:
        repo_id, default_name: as of `check_access`.
        private: a new repository shall be.
        must_exist: what is published belongs into a repository that is there.

    Raises:
        UsageError: an id that is none, or a repository that must be there and is not.
        HubError: no token or access, a public repository where a private one is wanted, or no answer.
    """
    full = check_access(repo_id, repo_type, default_name=default_name, token=token, endpoint=endpoint)
    token = token or usual_token()
    api = HfApi(endpoint=endpoint or constants.ENDPOINT, token=token)
    calls = Calls(full, api.endpoint, token, Retry(attempts=3))
    url = page_of(api.endpoint, full, repo_type)
    try:
        info = calls.run("look at the repository", lambda: api.repo_info(full, repo_type=repo_type))
    except HubError as error:
        if not _is_missing(error.__cause__):
            raise
        if must_exist:
            raise UsageError(
                f"There is no {repo_type} repository {full} whose results these could be.",
                f"Publish the training run first, or check --hub-{repo_type}-id.",
            ) from error
        return Target(full, repo_type, url, False, private)
    if private and not info.private:
        raise is_public(url)
    files = tuple(sorted(sibling.rfilename for sibling in getattr(info, "siblings", None) or ()))
    return Target(full, repo_type, url, True, bool(info.private), files, _run_held(api, calls, full, repo_type, files))


def _is_missing(cause: BaseException | None) -> bool:
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    return isinstance(cause, RepositoryNotFoundError) or status == 404


def _run_held(api: HfApi, calls: Calls, repo_id: str, repo_type: RepoType, files: Sequence[str]) -> str | None:
    if MANIFEST not in files:
        return None
    file = calls.run(f"read its {MANIFEST}", lambda: api.hf_hub_download(repo_id, MANIFEST, repo_type=repo_type))
    try:
        return run_in(read_text(Path(file)))
    except InputError:
        return None
