"""The publish step on a healthy Hub: what is there afterwards, and how often it was committed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from mmpref.errors import HubError, InputError, UsageError
from tests import bare
from tests.hub.conftest import CARD, Push, same_content
from tests.hub_fixtures import HubAccount


def test_one_commit_holds_the_folder_and_is_tagged(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    done = push(dataset_folder, "pairs", tag_prefix="v1-")
    repo = hub.hub.repo("dataset", done.repo_id)
    assert done.changed
    assert done.url == f"{hub.endpoint}/datasets/{hub.name}/pairs"
    assert done.commit == repo.refs["refs/heads/main"] == repo.refs[f"refs/tags/v1-{done.commit[:8]}"]
    assert hub.hub.titles("dataset", done.repo_id) == ["Add the data", "initial commit"]
    assert same_content(dataset_folder, hub.hub.tree("dataset", done.repo_id))
    assert hub.hub.tree("dataset", done.repo_id)["data/train-00000-of-00002.parquet"].sha256


def test_the_same_content_again_makes_no_commit(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    first = push(dataset_folder, "pairs", tag_prefix="v1-")
    hub.hub.faults.log.clear()
    second = push(dataset_folder, "pairs", tag_prefix="v1-")
    assert (second.changed, second.commit, second.tag) == (False, first.commit, f"v1-{first.commit[:8]}")
    calls = {name for name, *_ in hub.hub.faults.log}
    assert not calls & {"commit", "preupload", "lfs_batch", "lfs_put", "lfs_part"}


def test_two_that_publish_the_same_at_once_make_one_commit(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: push(dataset_folder, "pairs", tag_prefix="v1-"), range(4)))
    repo = hub.hub.repo("dataset", f"{hub.name}/pairs")
    assert hub.hub.titles("dataset", repo.id) == ["Add the data", "initial commit"]
    assert {(one.commit, one.tag) for one in done} == {(repo.refs["refs/heads/main"], done[0].tag)}
    assert [name for name in repo.refs if name.startswith("refs/tags/")] == [f"refs/tags/{done[0].tag}"]


def test_a_large_file_goes_up_in_parts(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    (dataset_folder / "big.bin").write_bytes(bytes(range(256)) * 800)
    done = push(dataset_folder, "pairs")
    assert hub.hub.faults.calls("lfs_part") == [200] * 4
    assert len(hub.hub.read("dataset", done.repo_id, "big.bin")) == 204_800


def test_stale_shards_leave_in_the_same_commit(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    push(dataset_folder, "pairs")
    old = dataset_folder / "data/train-00001-of-00002.parquet"
    old.rename(dataset_folder / "data/train-00001-of-00003.parquet")
    done = push(dataset_folder, "pairs", delete_patterns=["data/*.parquet"])
    assert same_content(dataset_folder, hub.hub.tree("dataset", done.repo_id))
    assert len(hub.hub.titles("dataset", done.repo_id)) == 3


def test_without_a_pattern_nothing_is_deleted(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    push(dataset_folder, "pairs")
    (dataset_folder / "run.json").unlink()
    assert not push(dataset_folder, "pairs").changed
    assert "run.json" in hub.hub.tree("dataset", f"{hub.name}/pairs")


def test_the_card_on_the_hub_keeps_its_own_keys(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    push(dataset_folder, "pairs")
    theirs = "---\nlicense: other\nlanguage: no  # a comment\nextra_gated_prompt: Say why\n---\n# Their text\n"
    (dataset_folder / "README.md").write_text(theirs)
    push(dataset_folder, "pairs", merge_card=lambda remote, local: local)
    (dataset_folder / "README.md").write_text(CARD.replace("language: [en]\n", ""))
    done = push(dataset_folder, "pairs")
    card = hub.hub.read("dataset", done.repo_id, "README.md").decode()
    assert "license: mit\n" in card
    assert "language: no  # a comment\n" in card
    assert "extra_gated_prompt: Say why\n" in card
    assert card.endswith("---\n# Tiny pairs\n")
    assert yaml.safe_load(card.split("---")[1])["configs"][0]["config_name"] == "default"
    assert not push(dataset_folder, "pairs").changed


def test_a_card_that_the_hub_refuses_stops_before_any_upload(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    (dataset_folder / "README.md").write_text(CARD.replace("mit", "license"))
    with pytest.raises(InputError, match=r'metadata of README.md: "license" must be one of'):
        push(dataset_folder, "pairs")
    assert not hub.hub.faults.calls("preupload")
    assert hub.hub.titles("dataset", f"{hub.name}/pairs") == ["initial commit"]


def test_private_is_private(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    done = push(dataset_folder, "secret", private=True)
    assert hub.hub.repo("dataset", done.repo_id).private
    assert not push(dataset_folder, "secret", private=True).changed


def test_private_is_refused_where_the_repository_is_public(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    push(dataset_folder, "open")
    (dataset_folder / "run.json").write_text("{}")
    with pytest.raises(HubError, match="exists and is public; nothing was uploaded"):
        push(dataset_folder, "open", private=True)
    assert len(hub.hub.titles("dataset", f"{hub.name}/open")) == 2


def test_a_pull_request_is_opened_once(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    first = push(dataset_folder, "pairs", create_pr=True, tag_prefix="v1-")
    assert first.pull_request_url == f"{hub.endpoint}/datasets/{hub.name}/pairs/discussions/1"
    assert (first.changed, first.tag) == (True, None)
    assert hub.hub.titles("dataset", first.repo_id) == ["initial commit"]
    assert same_content(dataset_folder, hub.hub.tree("dataset", first.repo_id, "refs/pr/1"))
    second = push(dataset_folder, "pairs", create_pr=True)
    assert (second.changed, second.pull_request_url) == (False, first.pull_request_url)
    assert len(hub.hub.repo("dataset", first.repo_id).pulls) == 1


def test_more_files_than_a_commit_takes_arrive_in_one_step(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    push(dataset_folder, "pairs")
    for index in range(130):
        (dataset_folder / f"note-{index}.txt").write_text(str(index))
    for endpoint in ("create_pull", "commit", "merge"):
        hub.hub.faults.add(endpoint, "lose")
    done = push(dataset_folder, "pairs", tag_prefix="v2-")
    repo = hub.hub.repo("dataset", done.repo_id)
    assert same_content(dataset_folder, hub.hub.tree("dataset", done.repo_id))
    assert len(hub.hub.titles("dataset", done.repo_id)) == 3
    assert [pull.status for pull in repo.pulls.values()] == ["merged"]
    assert repo.refs[f"refs/tags/v2-{done.commit[:8]}"] == repo.refs["refs/heads/main"] == done.commit
    assert not push(dataset_folder, "pairs", tag_prefix="v2-").changed


def test_a_remote_gitignore_is_an_error_not_a_loss(hub: HubAccount, push: Push, dataset_folder: Path) -> None:
    (dataset_folder / ".gitignore").write_text("*.json\n")
    (dataset_folder / "run.json").rename(dataset_folder / "run.json.tmp")
    done = push(dataset_folder, "pairs")
    assert not {"run.json", "run.json.tmp"} & set(hub.hub.tree("dataset", done.repo_id))
    (dataset_folder / "run.json.tmp").rename(dataset_folder / "run.json")
    with pytest.raises(HubError, match=r"The .gitignore of .* keeps run.json out"):
        push(dataset_folder, "pairs")


@pytest.mark.parametrize(("folder", "message"), [("missing", "is not a folder"), (".mmpref", "holds no file")])
def test_nothing_to_publish(push: Push, dataset_folder: Path, folder: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        push(dataset_folder / folder, "pairs")


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 200])
def test_an_impossible_name(push: Push, dataset_folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a valid repository id"):
        push(dataset_folder, name)


def test_a_model_folder(hub: HubAccount, push: Push, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlibrary_name: peft\nlicense: mit\n---\n# Adapter\n")
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / ".eval_results").mkdir()
    (tmp_path / ".eval_results/pope.yaml").write_text("- value: 1\n")
    done = push(tmp_path, "adapter", kind="model")
    assert done.url == f"{hub.endpoint}/{hub.name}/adapter"
    assert same_content(tmp_path, hub.hub.tree("model", done.repo_id))


SCRIPT = """
import logging, sys
from pathlib import Path
from mmpref.hub._remote import Content
from mmpref.hub.publish import publish_folder
logging.basicConfig(level=logging.INFO)
print(publish_folder(Content(Path(sys.argv[1]), "Add the data"), sys.argv[2], "dataset").commit)
"""


def test_from_a_process_of_its_own_it_is_quiet_about_bars_and_token(
    hub: HubAccount, hub_env: dict[str, str], dataset_folder: Path
) -> None:
    """HF_ENDPOINT and HF_TOKEN reach it; stderr has plain lines, no progress bar, and not the token."""
    done = bare.python(SCRIPT, str(dataset_folder), f"{hub.name}/pairs", environment=hub_env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hub.hub.repo("dataset", f"{hub.name}/pairs").refs["refs/heads/main"]
    assert "uploading data/train-00000-of-00002.parquet (2 of 4," in done.stderr
    assert "%|" not in done.stderr
    assert hub.token not in done.stdout + done.stderr


NOTEBOOK = """
import sys, types
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})
"""


def test_in_a_notebook_an_upload_has_the_hubs_bar(
    hub: HubAccount, hub_env: dict[str, str], dataset_folder: Path
) -> None:
    """The log is not shown there: else nothing moves while a large file goes up."""
    done = bare.python(NOTEBOOK + SCRIPT, str(dataset_folder), f"{hub.name}/pairs", environment=hub_env)
    assert done.returncode == 0, done.stderr
    assert "%|" in done.stderr
