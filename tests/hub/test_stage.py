"""What would be published, written to a folder: ``publish --to-folder`` and `mmpref.stage`."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from huggingface_hub import constants

from mmpref.api.publish import stage
from mmpref.cli.main import program
from mmpref.errors import RunError, UsageError
from mmpref.hub.cards.model import write_model_card
from tests.hub.pushed import adapter_facts, names_nothing_of, pairs_run, published_files, push
from tests.hub.runs import COMMIT, adapter_run, evaluation_run
from tests.hub_fixtures import HubAccount

BASE = "llava-hf/llava-v1.6-vicuna-7b-hf"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return pairs_run(tmp_path)


def _written(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["dataset", "model", "records"])
def test_what_is_written_to_a_folder_is_what_is_published(
    kind: str, hub: HubAccount, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = dataset, tmp_path / "preview"
    if kind == "model":
        path = tmp_path / "adapter"
        write_model_card(path, adapter_run(path, BASE, COMMIT))
    elif kind == "records":
        path = tmp_path / "evaluation"
        evaluation_run(path)
    named = {"hub_model_id" if kind == "model" else "hub_dataset_id": f"{hub.name}/thing"}
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)  # the base is none of this hub's
        staged = stage(path, folder, **named)
    written = _written(folder)
    assert (staged.files, staged.size) == (len(written), sum(map(len, written.values())))
    push(hub, path, samples_only=kind == "records")
    published = published_files(hub, "model" if kind == "model" else "dataset")
    assert {name: content for name, content in published.items() if name != ".gitattributes"} == written
    names_nothing_of(written, tmp_path)
    with pytest.raises(RunError, match="holds something already"):
        stage(path, folder, **named)
    assert _written(folder) == written


def test_an_evaluation_is_its_adapter_with_the_results_in_its_card(
    hub: HubAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, evaluation, folder = tmp_path / "adapter", tmp_path / "evaluation", tmp_path / "preview"
    write_model_card(adapter, adapter_run(adapter, BASE, COMMIT))
    evaluation_run(evaluation, adapter_facts(adapter))
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        stage(evaluation, folder, hub_model_id=f"{hub.name}/thing")
    push(hub, adapter)
    push(hub, evaluation)
    published = published_files(hub, "model")
    assert {name: content for name, content in published.items() if name != ".gitattributes"} == _written(folder)
    (adapter / "adapter_model.safetensors").write_bytes(b"trained again")
    with pytest.raises(UsageError, match="evaluated other weights than those that are now in"):
        stage(evaluation, tmp_path / "other", hub_model_id=f"{hub.name}/thing")


def test_what_cannot_be_written_to_a_folder(tmp_path: Path) -> None:
    evaluation_run(tmp_path / "evaluation")
    with pytest.raises(UsageError, match="Name it: --hub-model-id="):
        stage(tmp_path / "evaluation", tmp_path / "preview")
    with pytest.raises(UsageError, match=r"go into the card of what was evaluated, and it is no .*Evaluate the"):
        stage(tmp_path / "evaluation", tmp_path / "preview", hub_model_id="me/thing")
    with pytest.raises(UsageError, match="not those of a merged model"):
        stage(tmp_path / "evaluation", tmp_path / "preview", hub_model_id="me/thing", merge=True)
    with pytest.raises(UsageError, match="--to-folder sends nothing, and --private"):
        program.main(
            ["publish", str(tmp_path / "evaluation"), "--to-folder", str(tmp_path / "preview"), "--private"],
            standalone_mode=False,
        )
    assert not (tmp_path / "preview").exists()
    with pytest.raises(RunError, match="lies in the run, and would be published with it"):
        stage(tmp_path / "evaluation", tmp_path / "evaluation" / "preview", hub_dataset_id="me/thing")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"Cannot write .*Choose another --to-folder"):
        stage(tmp_path / "evaluation", tmp_path / "file" / "preview", hub_dataset_id="me/thing")


def test_a_folder_is_written_whole_or_not_at_all(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "preview").mkdir()
    before = sorted(tmp_path.iterdir())
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", Mock(side_effect=[None, full]))
        with pytest.raises(RunError, match="No room on the disk"):
            stage(dataset, tmp_path / "preview", hub_dataset_id="me/thing")
    assert sorted(tmp_path.iterdir()) == before
    assert not any((tmp_path / "preview").iterdir())
    stage(dataset, tmp_path / "preview", hub_dataset_id="me/thing")
    assert (tmp_path / "preview" / "README.md").is_file()


def test_a_name_without_a_namespace_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'mine' names no namespace\. Give --hub-dataset-id=NAMESPACE/NAME"):
        stage(dataset, tmp_path / "preview", hub_dataset_id="mine")
    assert not (tmp_path / "preview").exists()
