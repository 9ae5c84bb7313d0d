"""Publishing more files than one commit should carry: commits on a pull request's branch, then one merge.

The Hub advises fewer than about 100 files a commit. Several commits on `main` would show readers a mixture of
old and new in between; a pull request's branch is not `main`, and its merge is one step.
"""

from __future__ import annotations

from huggingface_hub import Discussion

from mmpref.errors import HubError
from mmpref.hub._calls import CALL_ERRORS, failure_of
from mmpref.hub._local_files import CARD
from mmpref.hub._remote import Content, Plan, Remote
from mmpref.log import logger

FILES_A_COMMIT = 100


def publish_staged(remote: Remote, content: Content, merge: bool) -> Discussion:
    """Bring `content` onto a pull request's branch, a hundred files a commit, and merge it where `merge`.

    A rerun after an interruption finds its own pull request, by the content's hash in the title, and goes on.

    Raises:
        HubError: the Hub refuses; the pull request stays, to be finished by a rerun or by hand.
    """
    title = f"{content.commit_message} [{content.digest[:12]}]"
    pull = remote.calls.run("open a pull request", lambda: _find_or_open(remote, title))
    logger.info("more than %d files: staging them in %s", FILES_A_COMMIT, pull.url)
    _fill(remote, content, pull)
    number = pull.num
    if pull.status == "draft":
        remote.calls.run(
            "mark the pull request as ready",
            lambda: remote.api.change_discussion_status(
                remote.repo_id, number, new_status="open", repo_type=remote.repo_type
            ),
        )
    if merge:
        _merge(remote, content, pull)
    return pull


def _find_or_open(remote: Remote, title: str) -> Discussion:
    pull = next((p for p in remote.pulls("draft", "open") if p.title == title), None)
    return pull or remote.api.create_pull_request(remote.repo_id, title, repo_type=remote.repo_type)


def _fill(remote: Remote, content: Content, pull: Discussion) -> None:
    """Commit to the branch until nothing is left to do there; each round compares anew, so a retry is safe."""
    ref, failures = pull.git_reference, 0
    assert ref is not None
    while plan := remote.plan(content, ref):
        part = _first(plan)
        operations = remote.operations(part, ref, create_pr=False)
        try:
            remote.commit(operations, content.commit_message, part.head, revision=ref)
            logger.info("%d files to go", len(plan) - len(part))
        except CALL_ERRORS as error:
            failures += 1
            if failure_of(error) == "fatal" or failures == remote.calls.retry.attempts:
                raise remote.calls.explain(f"commit to {pull.url}", error) from error
            remote.calls.pause("commit", error, failures)


def _first(plan: Plan) -> Plan:
    """The first hundred operations, the card last of all."""
    ordered = sorted(plan.add, key=lambda file: file.path == CARD)
    delete = plan.delete[:FILES_A_COMMIT]
    return Plan(plan.head, tuple(ordered[: FILES_A_COMMIT - len(delete)]), delete)


def _merge(remote: Remote, content: Content, pull: Discussion) -> None:
    def merge_once() -> None:
        # After a lost answer the content is already on main, and merging again would be an error.
        if remote.plan(content):
            remote.api.merge_pull_request(remote.repo_id, pull.num, repo_type=remote.repo_type)

    try:
        remote.calls.run("merge the pull request", merge_once)
    except HubError as error:
        raise HubError(f"{error.message} Everything is in {pull.url}.", "Merge it there, or publish again.") from error
    if remote.plan(content):
        raise HubError(
            f"{pull.url} is merged, but main differs from what was published.",
            "Somebody else pushed in between; publish again.",
        )
