"""Other weights or data under the same recipe are another run's: nothing is replaced unasked, and no results stay."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from mmpref.errors import HubError
from mmpref.hub._pull_request import FILES_A_COMMIT
from mmpref.hub.cards.dataset import write_dataset_card
from tests.hub.pushed import adapter_facts, metadata, published_files, push
from tests.hub.runs import COMMIT, adapter_run, dataset_run, evaluation_run, whole_model_run
from tests.hub_fixtures import HubAccount

BASE = "llava-hf/llava-v1.6-vicuna-7b-hf"
RESULT = b"0.891 [0.881, 0.901]"
ENTRY = ".eval_results/mmpref-pope.yaml"


def _evaluated(hub: HubAccount, folder: Path) -> Path:
    """An adapter on the Hub with its results, records, and an entry of a leaderboard."""
    adapter_run(folder / "one", BASE, COMMIT)
    push(hub, folder / "one")
    evaluation_run(folder / "evaluation", adapter_facts(folder / "one"))
    push(hub, folder / "evaluation", push_samples=True)
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    for name, content in ((ENTRY, b"- value: 0.891\n"), ("evaluation/mine.txt", b"mine")):
        api.upload_file(repo_id=f"{hub.name}/thing", path_in_repo=name, path_or_fileobj=content)
    return folder / "one"


def _retrained(path: Path) -> Path:
    """The same recipe, and other weights."""
    adapter_run(path, BASE, COMMIT)
    (path / "adapter_model.safetensors").write_bytes(b"\x00other")
    return path


def _has_no_results(files: dict[str, bytes]) -> None:
    card = files["README.md"]
    assert RESULT not in card
    assert "model-index" not in metadata(card)
    assert "not-evaluated" in metadata(card)["tags"]
    assert ENTRY not in files
    assert [name for name in files if name.startswith("evaluation/")] == ["evaluation/mine.txt"]


def test_results_of_other_weights_of_the_same_recipe_go_with_them(hub: HubAccount, tmp_path: Path) -> None:
    first = _evaluated(hub, tmp_path)
    before = published_files(hub, "model")
    assert RESULT in before["README.md"]
    assert not push(hub, first).changed, "results stay with the weights that they are of"
    again = _retrained(tmp_path / "two")
    with pytest.raises(HubError, match=r"other data of the same recipe, such as adapter_model\.safetensors") as refused:
        push(hub, again)
    assert "--replace" in refused.value.hint
    assert published_files(hub, "model") == before
    assert push(hub, again, replace=True).changed
    _has_no_results(published_files(hub, "model"))
    assert not push(hub, again).changed


def test_neither_do_they_stay_where_the_commit_is_made_in_parts(hub: HubAccount, tmp_path: Path) -> None:
    """The weights then stand on the branch before the card does."""
    _evaluated(hub, tmp_path)
    again = _retrained(tmp_path / "two")
    (again / "checkpoints").mkdir()
    for number in range(FILES_A_COMMIT + 1):
        (again / f"checkpoints/{number}.json").write_text("{}")
    push(hub, again, replace=True)
    _has_no_results(published_files(hub, "model"))
    assert not push(hub, again).changed


def test_nor_on_a_pull_request(hub: HubAccount, tmp_path: Path) -> None:
    _evaluated(hub, tmp_path)
    again = _retrained(tmp_path / "two")
    asked = push(hub, again, replace=True, create_pr=True)
    assert asked.pull_request_url
    assert push(hub, again, replace=True, create_pr=True).commit == asked.commit
    assert RESULT in published_files(hub, "model")["README.md"]
    push(hub, again, replace=True)
    _has_no_results(published_files(hub, "model"))


def test_results_of_an_adapter_are_not_those_of_the_model_that_it_was_merged_into(
    hub: HubAccount, tmp_path: Path
) -> None:
    first = _evaluated(hub, tmp_path)
    whole_model_run(tmp_path / "merged", b"\x00merged")
    (tmp_path / "merged/run.json").unlink()
    with pytest.raises(HubError, match="other data of the same recipe"):
        push(hub, first, merged=tmp_path / "merged", accept_private=True)
    push(hub, first, merged=tmp_path / "merged", accept_private=True, replace=True)
    files = published_files(hub, "model")
    assert {"model.safetensors"} <= files.keys()
    assert "adapter_model.safetensors" not in files
    _has_no_results(files)


def test_a_change_beside_the_weights_needs_no_leave(hub: HubAccount, tmp_path: Path) -> None:
    first = _evaluated(hub, tmp_path)
    config = json.loads((first / "adapter_config.json").read_text())
    (first / "adapter_config.json").write_text(json.dumps(config | {"r": 4}))
    assert push(hub, first).changed
    assert RESULT in published_files(hub, "model")["README.md"]


def test_other_pairs_of_the_same_recipe_are_replaced_only_where_that_is_wanted(hub: HubAccount, tmp_path: Path) -> None:
    path = tmp_path / "pairs"
    manifest = dataset_run(path)
    write_dataset_card(path, manifest)
    push(hub, path)
    file = path / manifest["data"][0]["path"]
    pq.write_table(pq.read_table(file).slice(0, 2), file)
    with pytest.raises(HubError, match="other data of the same recipe, such as data/train-00000"):
        push(hub, path)
    assert push(hub, path, replace=True).changed


def test_other_records_of_the_same_evaluation_are_not_replaced_unasked_either(hub: HubAccount, tmp_path: Path) -> None:
    path = tmp_path / "evaluation"
    evaluation_run(path)
    pairs = tmp_path / "pairs"
    file = pairs / dataset_run(pairs)["data"][0]["path"]
    record = path / "samples/base-pope.parquet"
    record.write_bytes(file.read_bytes())
    push(hub, path, samples_only=True)
    pq.write_table(pq.read_table(file).slice(0, 2), record)
    with pytest.raises(HubError, match="other data of the same recipe, such as samples/base-pope"):
        push(hub, path, samples_only=True)
    assert push(hub, path, samples_only=True, replace=True).changed
