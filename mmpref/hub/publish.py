"""Publishing a folder to the Hub: one atomic commit, safe to repeat after any failure.

The order: hash the folder, make sure of the repository, compare with its head, merge and check the card, upload
contents one by one, then one commit whose parent is that head. Every retry begins at "compare with its head":
a commit whose answer was lost is then found to be there, and is not made twice. The same content published
again makes no commit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from huggingface_hub import HfApi, constants

from mmpref.errors import InputError, UsageError
from mmpref.hub._calls import CALL_ERRORS, Calls, Retry, failure_of, quiet_unless_watched
from mmpref.hub._local_files import CARD
from mmpref.hub._pull_request import FILES_A_COMMIT, publish_staged
from mmpref.hub._remote import Content, Plan, Remote
from mmpref.hub.access import RepoType, check_repo_id, usual_token
from mmpref.hub.published import Published
from mmpref.hub.target import is_public
from mmpref.log import logger

_SDK = "gradio"
"""Of Spaces."""


def publish_folder(
    content: Content,
    repo_id: str,
    repo_type: RepoType,
    *,
    private: bool = False,
    create_pr: bool = False,
    tag_prefix: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    retry: Retry | None = None,
) -> Published:
    """Make the repository hold what the content's folder holds, by one commit on top of its head.

    Args:
        repo_id: "namespace/name"; created where it is missing, `private` then decides who sees it.
        create_pr: open a pull request instead of committing to main; an open one with this content is reused.
        tag_prefix: the commit on main is tagged with it and its own first digits; a tag with it that is there already
            stays.
        token: by default from the usual places.
        retry: how often and how long to try again.

    More than 100 changed files go through a pull request that is merged at once: `main` changes in one step.

    Raises:
        UsageError: a bad `repo_id`.
        InputError: nothing to publish, or a card that the Hub does not accept.
        HubError: the Hub refused, or did not answer within the retries; a rerun continues.
    """
    check_repo_id(repo_id)
    if "/" not in repo_id:
        raise UsageError(f"{repo_id!r} has no namespace.", "Write it as <user or organization>/<name>.")
    if not content.files:
        raise InputError(f"{content.folder} holds no file to publish.")
    token = token or usual_token()
    api = HfApi(endpoint=endpoint or constants.ENDPOINT, token=token)
    calls = Calls(repo_id, api.endpoint, token, retry or Retry())
    remote = Remote(api, calls, repo_id, repo_type, token)
    visibility: Literal["public", "private"] = "private" if _make_repository(remote, private) else "public"
    with quiet_unless_watched():
        published = replace(_find_or_commit(remote, content, create_pr), visibility=visibility)
    if published.pull_request_url:
        return published
    state = "published" if published.changed else "already there:"
    logger.info("%s %s (%s) at %s", state, remote.url, visibility, published.commit[:8])
    return replace(published, tag=_set_tag(remote, tag_prefix, published.commit)) if tag_prefix else published


def _make_repository(remote: Remote, private: bool) -> bool:
    """Make sure of the repository; returns whether it is private."""
    api, repo_id, repo_type = remote.api, remote.repo_id, remote.repo_type
    sdk = _SDK if repo_type == "space" else None
    remote.calls.run(
        "create the repository",
        lambda: api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk),
    )
    info = remote.calls.run("read the repository", lambda: api.repo_info(repo_id, repo_type=repo_type))
    if private and not info.private:
        raise is_public(remote.url)
    return bool(info.private)


def _find_or_commit(remote: Remote, content: Content, create_pr: bool) -> Published:
    """Compare and commit until the content is there; each failed attempt goes back to comparing."""
    attempts = remote.calls.retry.attempts
    failure: Exception | None = None
    for attempt in range(1, attempts + 1):
        plan = remote.plan(content)
        if published := _already_there(remote, content, plan, create_pr, changed=failure is not None):
            return published
        # Held fast: a commit that is made in parts changes what is there while it goes on.
        content = content.over_another_run() if plan.over_another_run else content
        remote.check(content, plan)
        for file in plan.add:
            if file.path == CARD:
                remote.validate(file)
        if len(plan) > FILES_A_COMMIT:
            return _publish_many(remote, content, create_pr)
        operations = remote.operations(plan, "main", create_pr)
        try:
            commit = remote.commit(operations, content.commit_message, plan.head, create_pr=create_pr)
            return _result(remote, commit.oid, True, commit.pr_url)
        except CALL_ERRORS as error:
            if failure_of(error) == "fatal":
                raise remote.calls.explain("commit", error) from error
            failure = error
            if attempt < attempts:
                remote.calls.pause("commit", error, attempt)
    if published := _already_there(remote, content, remote.plan(content), create_pr, changed=True):
        return published
    assert failure is not None
    raise remote.calls.explain(f"commit in {attempts} attempts", failure) from failure


def _already_there(remote: Remote, content: Content, plan: Plan, create_pr: bool, changed: bool) -> Published | None:
    """Where the content is, on main or (for a pull request) in one that is open."""
    if not plan:
        return _result(remote, plan.head, changed)
    for pull in remote.pulls("open") if create_pr else []:
        if pull.git_reference and not (plan := remote.plan(content, pull.git_reference)):
            return _result(remote, plan.head, changed, pull.url)
    return None


def _publish_many(remote: Remote, content: Content, create_pr: bool) -> Published:
    pull = publish_staged(remote, content, merge=not create_pr)
    ref = pull.git_reference if create_pr and pull.git_reference else "main"
    return _result(remote, remote.plan(content, ref).head, True, pull.url if create_pr else None)


def _result(remote: Remote, commit: str, changed: bool, pull_url: str | None = None) -> Published:
    return Published(remote.url, commit, None, pull_url, changed, remote.repo_id, remote.repo_type)


def _set_tag(remote: Remote, prefix: str, commit: str) -> str:
    """Tag a commit, where it has no tag with the prefix yet."""
    api, repo_id, repo_type = remote.api, remote.repo_id, remote.repo_type

    def tag_once() -> str:
        for ref in api.list_repo_refs(repo_id, repo_type=repo_type).tags:
            if ref.name.startswith(prefix) and ref.target_commit == commit:
                return ref.name
        name = f"{prefix}{commit[:8]}"
        api.create_tag(repo_id, tag=name, revision=commit, repo_type=repo_type, exist_ok=True)
        return name

    return remote.calls.run("tag the commit", tag_once)
