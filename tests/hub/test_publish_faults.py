"""The publish step on a failing Hub: one correct commit in the end, or a clear error and a rerun that finishes."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import HubError
from tests.hub.conftest import Push, same_content
from tests.hub.test_publish import SCRIPT
from tests.hub_fixtures import HubAccount

DATA = "Add the data"
LATE = {"Retry-After": "1"}
LIMIT = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=1000;w=300'}


@pytest.mark.parametrize("create_pr", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        {"action": "status", "status": 409},
        {"action": "status", "status": 412},
        {"action": "status", "status": 500},
        {"action": "status", "status": 503, "times": 3},
        {"action": "status", "status": 429, "headers": LATE},
        {"action": "status", "status": 429, "headers": LIMIT},
        {"action": "lose"},
        {"action": "drop"},
        {"action": "page"},
        {"action": "cut"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values() if not isinstance(value, dict)),
)
def test_a_failed_commit_ends_as_exactly_one(
    hub: HubAccount, push: Push, dataset_folder: Path, fault: dict[str, Any], create_pr: bool
) -> None:
    hub.hub.faults.add("commit", **fault)
    start = time.monotonic()
    done = push(dataset_folder, "pairs", create_pr=create_pr)
    repo = hub.hub.repo("dataset", done.repo_id)
    revision = "refs/pr/1" if create_pr else "main"
    assert len(repo.pulls) == int(create_pr)
    assert hub.hub.titles("dataset", done.repo_id, revision) == [DATA, "initial commit"]
    assert same_content(dataset_folder, hub.hub.tree("dataset", done.repo_id, revision))
    assert done.commit == repo.refs["refs/pr/1" if create_pr else "refs/heads/main"]
    assert done.changed
    if "headers" in fault:
        assert time.monotonic() - start >= 1


def test_a_stale_parent_rebuilds_on_the_new_head(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    """Somebody else commits in between: their file and their card's keys survive."""
    push(dataset_folder, "pairs")
    (dataset_folder / "run.json").write_text("{}")
    hub.hub.faults.add("commit", "move_head")
    done = push(dataset_folder, "pairs")
    assert hub.hub.titles("dataset", done.repo_id)[:2] == [DATA, "somebody else's commit"]
    tree = hub.hub.tree("dataset", done.repo_id)
    assert "NOTES.md" in tree
    assert same_content(dataset_folder, {path: entry for path, entry in tree.items() if path != "NOTES.md"})
    assert hub.hub.faults.calls("commit")[-2:] == [412, 200]


@pytest.mark.parametrize(
    "endpoint", ["create_repo", "info", "tree", "resolve", "validate_yaml", "refs", "create_tag", "preupload"]
)
@pytest.mark.parametrize("action", ["status", "lose", "page", "cut"])
def test_every_other_call_is_retried_too(
    hub: HubAccount, push: Push, dataset_folder: Path, endpoint: str, action: str
) -> None:
    if (endpoint, action) == ("create_tag", "page"):
        pytest.skip("huggingface_hub reads no answer to this call")
    push(dataset_folder, "pairs")
    (dataset_folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# New\n")
    fault = hub.hub.faults.add(endpoint, action, status=503)
    done = push(dataset_folder, "pairs", tag_prefix="v2-")
    assert fault.reached.is_set()
    card = hub.hub.read("dataset", done.repo_id, "README.md").decode()
    assert "license: apache-2.0" in card
    assert "data/train-*" in card, "the Hub's own keys, from a card that was read whole"
    assert len(hub.hub.titles("dataset", done.repo_id)) == 3
    assert hub.hub.repo("dataset", done.repo_id).refs[f"refs/tags/{done.tag}"] == done.commit


def test_giving_up_is_one_line_and_a_rerun_finishes(
    hub: HubAccount, push: Push, dataset_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.hub.faults.add("commit", "status", status=503, times=99)
    with caplog.at_level(logging.DEBUG), pytest.raises(HubError) as caught:
        push(dataset_folder, "pairs")
    text = str(caught.value)
    assert f"Could not commit in 4 attempts ({hub.name}/pairs): the Hub answered 503" in text
    assert "\n" not in text
    assert hub.token not in text + caplog.text
    assert hub.hub.faults.calls("commit") == [503] * 4
    hub.hub.faults.clear()
    done = push(dataset_folder, "pairs")
    assert not set(hub.hub.faults.calls("lfs_put")), "what was uploaded is not sent again"
    assert hub.hub.titles("dataset", done.repo_id) == [DATA, "initial commit"]


def test_the_last_answer_lost_is_still_found_out(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    hub.hub.faults.add("commit", "drop", times=3)
    hub.hub.faults.add("commit", "lose")
    done = push(dataset_folder, "pairs")
    assert done.changed
    assert hub.hub.titles("dataset", done.repo_id) == [DATA, "initial commit"]


def test_a_wait_of_an_hour_is_told_not_slept(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    hub.hub.faults.add("commit", "status", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(HubError, match="the Hub asks to wait 3600 s"):
        push(dataset_folder, "pairs")


def test_a_refusal_is_not_retried(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    hub.hub.faults.add("commit", "status", status=403)
    with pytest.raises(HubError, match=r"the Hub answered 403.*Use a token that may write to"):
        push(dataset_folder, "pairs")
    assert hub.hub.faults.calls("commit") == [403]


@pytest.mark.parametrize(("role", "message"), [("read", "answered 403"), (None, "answered 401.*Log in with")])
def test_a_token_that_may_not_write(
    hub: HubAccount, push: Push, dataset_folder: Path, role: str | None, message: str
) -> None:
    token = hub.hub.store.add_user(hub.name, role=role) if role else "hf_" + "x" * 34
    with pytest.raises(HubError, match=message) as caught:
        push(dataset_folder, "pairs", token=token)
    assert token not in str(caught.value)
    assert ("dataset", f"{hub.name}/pairs") not in hub.hub.store.repos


def test_a_token_that_the_hub_repeats_stays_hidden(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    said = {"X-Error-Message": f"no luck with {hub.token}"}
    hub.hub.faults.add("commit", "status", status=403, headers=said)
    with pytest.raises(HubError, match="no luck with <token>") as caught:
        push(dataset_folder, "pairs")
    assert hub.token not in str(caught.value)


def test_a_page_to_sign_in_is_told(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    hub.hub.faults.add("info", "page", times=99)
    with pytest.raises(HubError, match=r"is not the Hub's answer.*a page to sign in"):
        push(dataset_folder, "pairs")
    hub.hub.faults.clear()
    hub.hub.faults.add("create_repo", "page", times=99)
    with pytest.raises(HubError, match="Could not create the repository"):
        push(dataset_folder, "pairs")


@pytest.mark.parametrize("action", ["page", "cut"])
def test_an_owners_card_is_read_whole_or_not_at_all(
    hub: HubAccount, push: Push, dataset_folder: Path, action: str
) -> None:
    """Else what was missing of it would be missing on the Hub from then on."""
    push(dataset_folder, "pairs")
    hub.hub.faults.add("resolve", action, times=99)
    (dataset_folder / "README.md").write_text("# New\n")
    with pytest.raises(HubError, match=r"bytes came, and not the \d+ bytes of README.md"):
        push(dataset_folder, "pairs")
    hub.hub.faults.clear()
    assert "# Tiny pairs" in hub.hub.read("dataset", f"{hub.name}/pairs", "README.md").decode()


@pytest.mark.parametrize("endpoint", ["lfs_put", "lfs_batch", "preupload"])
@pytest.mark.parametrize("action", ["page", "cut"])
def test_an_upload_that_somebody_else_answers_is_no_upload(
    hub: HubAccount, push: Push, dataset_folder: Path, endpoint: str, action: str
) -> None:
    hub.hub.faults.add(endpoint, action)
    if (endpoint, action) == ("lfs_put", "page"):
        with pytest.raises(HubError, match=r"Could not upload data/train-.*is not here"):
            push(dataset_folder, "pairs")
        assert hub.hub.titles("dataset", f"{hub.name}/pairs") == ["initial commit"]
    done = push(dataset_folder, "pairs")
    assert hub.hub.titles("dataset", done.repo_id) == [DATA, "initial commit"]
    assert same_content(dataset_folder, hub.hub.tree("dataset", done.repo_id))


def test_a_failed_upload_is_sent_again(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    hub.hub.faults.add("lfs_put", "status", status=500, skip=1)
    done = push(dataset_folder, "pairs")
    assert hub.hub.faults.calls("lfs_put") == [200, 500, 200]
    assert same_content(dataset_folder, hub.hub.tree("dataset", done.repo_id))


def test_killed_between_uploads_then_run_again(
    hub: HubAccount, hub_env: dict[str, str], push: Push, dataset_folder: Path
) -> None:
    stuck = hub.hub.faults.add("lfs_put", "hang", skip=1)
    args = [sys.executable, "-c", SCRIPT, str(dataset_folder), f"{hub.name}/pairs"]
    process = subprocess.Popen(args, env=hub_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert stuck.reached.wait(300), "the second shard never came"
    finally:
        process.kill()
        process.communicate()
    assert hub.hub.titles("dataset", f"{hub.name}/pairs") == ["initial commit"]
    assert hub.hub.faults.calls("lfs_put") == [200]
    done = push(dataset_folder, "pairs")
    assert hub.hub.faults.calls("lfs_put") == [200, 200], "only the second shard is sent"
    assert hub.hub.titles("dataset", done.repo_id) == [DATA, "initial commit"]
    assert same_content(dataset_folder, hub.hub.tree("dataset", done.repo_id))


def test_killed_between_staged_commits_then_run_again(
    hub: HubAccount, hub_env: dict[str, str], push: Push, dataset_folder: Path
) -> None:
    for index in range(130):
        (dataset_folder / f"note-{index}.txt").write_text(str(index))
    stuck = hub.hub.faults.add("commit", "hang", skip=1)
    args = [sys.executable, "-c", SCRIPT, str(dataset_folder), f"{hub.name}/pairs"]
    process = subprocess.Popen(args, env=hub_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert stuck.reached.wait(300), "the second commit never came"
    finally:
        process.kill()
        process.communicate()
    assert hub.hub.titles("dataset", f"{hub.name}/pairs") == ["initial commit"]
    done = push(dataset_folder, "pairs")
    assert [pull.status for pull in hub.hub.repo("dataset", done.repo_id).pulls.values()] == ["merged"]
    assert hub.hub.faults.calls("commit") == [200, 200], "the first hundred files are not committed again"
    assert same_content(dataset_folder, hub.hub.tree("dataset", done.repo_id))
