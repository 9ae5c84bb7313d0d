"""Publishing finished runs: what is on the Hub afterwards, and that nothing of this machine is."""

from __future__ import annotations

import io
import json
import resource
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import HfApi
from PIL import Image

from mmpref.errors import HubError, RunError, UsageError
from mmpref.hub.cards.merge_dataset import merge_dataset_card
from mmpref.hub.cards.model import write_model_card
from mmpref.hub.publish_run import write_run
from mmpref.tables.open import open_table
from tests import bare
from tests.hub.pushed import adapter_facts, metadata, names_nothing_of, pairs_run, published_files, push
from tests.hub.runs import COMMIT, RECIPE_HASH, adapter_run, dataset_run, evaluation_run
from tests.hub_fixtures import HubAccount

BASE = "llava-hf/llava-v1.6-vicuna-7b-hf"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return pairs_run(tmp_path)


def test_a_dataset_run(hub: HubAccount, dataset: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in dataset.rglob("*") if file.is_file()}
    done = push(hub, dataset)
    files = published_files(hub, "dataset")
    assert set(files) - {".gitattributes"} == {
        "README.md",
        "data/train-00000-of-00001.parquet",
        "pictures/pair-1.jpg",
        "pictures/pair-2-2.jpg",
        "pictures/pair-2.jpg",
        "pictures/pair-3.jpg",
        "report.json",
        "run.json",
    }
    assert Image.open(io.BytesIO(files["pictures/pair-2.jpg"])).size == (4, 3)
    for name in files:
        assert not name.startswith("pictures/") or f"({name})" in files["README.md"].decode()
    assert f'load_dataset("{hub.name}/thing"' in files["README.md"].decode()
    assert json.loads(files["report.json"])["skipped"]["no-image"] == {"count": 1, "first": [{"id": "9"}]}
    names_nothing_of(files, tmp_path)
    record = dataset / ".mmpref/published.json"
    assert before == {file: file.read_bytes() for file in dataset.rglob("*") if file.is_file() and file != record}
    assert done.tag == f"mmpref-{RECIPE_HASH[:8]}-{done.commit[:8]}"
    again = push(hub, dataset)
    assert (again.changed, again.commit, again.tag) == (False, done.commit, done.tag)


def test_the_run_records_where_it_was_published(hub: HubAccount, dataset: Path) -> None:
    first, second = push(hub, dataset), push(hub, dataset, "other")
    (dataset / "README.md").unlink()
    asked = push(hub, dataset, "third", create_pr=True)
    record = dataset / ".mmpref/published.json"
    wanted = [
        {"url": done.url, "commit": done.commit, "tag": done.tag, "pull_request_url": done.pull_request_url}
        for done in (first, second, asked)
    ]
    fingerprints = [open_table(str(dataset), "train").fingerprint]
    assert json.loads(record.read_text()) == [{**entry, "fingerprints": fingerprints} for entry in wanted]
    assert wanted[0]["tag"]
    assert wanted[2]["pull_request_url"]
    written = record.read_bytes()
    push(hub, dataset)
    assert record.read_bytes() == written
    assert not [name for name in published_files(hub, "dataset") if "published" in name]


def test_a_run_that_cannot_be_written_is_published_all_the_same(hub: HubAccount, dataset: Path) -> None:
    (dataset / ".mmpref").write_text("in the way")
    assert push(hub, dataset).changed


def test_a_second_split_leaves_the_first_loadable(hub: HubAccount, tmp_path: Path, hub_env: dict[str, str]) -> None:
    for split in ("train", "test"):
        dataset_run(tmp_path / split, split)
        push(hub, tmp_path / split)
    assert not push(hub, tmp_path / "test").changed
    code = (
        "import sys; from datasets import load_dataset; found = load_dataset(sys.argv[1]); "
        "print({name: len(rows) for name, rows in found.items()})"
    )
    done = bare.python(code, f"{hub.name}/thing", environment=hub_env)
    assert done.stdout.strip() == "{'train': 3, 'test': 3}", done.stderr


def test_foreign_configurations_stay(hub: HubAccount, dataset: Path) -> None:
    push(hub, dataset)
    card = published_files(hub, "dataset")["README.md"].decode()
    foreign = {"config_name": "mine", "data_files": [{"split": "train", "path": "mine/*"}]}
    edited = card.replace(
        "configs:\n", "configs:\n- config_name: mine\n  data_files:\n  - split: train\n    path: mine/*\n"
    )
    assert edited != card
    merged = merge_dataset_card(edited, card)
    assert foreign in metadata(merged.encode())["configs"]
    assert len(metadata(merged.encode())["configs"]) == 2
    assert merge_dataset_card(merged, card) == merged


def test_the_owners_words_go_along_and_stay(hub: HubAccount, dataset: Path) -> None:
    card = dataset / "README.md"
    card.write_text(card.read_text().replace("<!-- mmpref:end -->", "<!-- mmpref:end -->\n\n## Mine\n\nKeep me."))
    push(hub, dataset)
    assert "Keep me." in published_files(hub, "dataset")["README.md"].decode()
    card.unlink()
    assert not push(hub, dataset).changed


def test_words_that_the_owner_adds_after_the_first_push_go_along_too(hub: HubAccount, dataset: Path) -> None:
    push(hub, dataset)
    card = dataset / "README.md"
    card.write_text(f"{card.read_text()}\n## Mine\n\nKeep me.\n")
    assert push(hub, dataset).changed
    assert "Keep me." in published_files(hub, "dataset")["README.md"].decode()
    assert not push(hub, dataset).changed


def test_the_owners_words_stay_without_the_cards_metadata(hub: HubAccount, dataset: Path) -> None:
    card = dataset / "README.md"
    _, head, body = card.read_text().split("---\n", 2)
    card.write_text(f"{body}\n## Mine\n\nKeep me.\n")
    push(hub, dataset)
    published = published_files(hub, "dataset")["README.md"]
    assert "Keep me." in published.decode()
    assert metadata(published) == yaml.safe_load(head)


@pytest.mark.parametrize("named", [None, "me/tiny-vlm"])
def test_an_adapter_of_a_local_base(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture, named: str | None
) -> None:
    base = tmp_path / "models" / "tiny-vlm"
    path = tmp_path / "adapter"
    manifest = adapter_run(path, str(base), None)
    write_model_card(path, manifest)
    push(hub, path, base_hub_id=named)
    assert ("say where: --base-hub-id" in caplog.text) == (named is None)
    files = published_files(hub, "model")
    names_nothing_of(files, tmp_path)
    assert not [name for name in files if name.startswith(".mmpref")]
    assert {"adapter_model.safetensors", "log.jsonl", "training.png", "tokenizer.json"} <= files.keys()
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == named
    run = json.loads(files["run.json"])
    assert run["model"]["id"] == run["recipe"]["model"] == named
    assert metadata(files["README.md"]).get("base_model") == named
    assert json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert not push(hub, path, base_hub_id=named).changed


def test_what_was_said_of_a_run_holds_when_it_is_published_again(hub: HubAccount, tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    write_model_card(path, adapter_run(path, str(tmp_path / "vlm"), None))
    push(hub, path, base_hub_id=BASE)
    card = published_files(hub, "model")["README.md"]
    assert not push(hub, path).changed
    assert published_files(hub, "model")["README.md"] == card
    write_run(path, "me/vlm", tmp_path / "preview")
    assert f"base_model: {BASE}" in (tmp_path / "preview/README.md").read_text()
    push(hub, path, base_hub_id="me/another")
    assert b"base_model: me/another" in published_files(hub, "model")["README.md"]


def test_an_adapter_of_a_hub_base_keeps_its_revision(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    push(hub, tmp_path / "adapter")
    files = published_files(hub, "model")
    config = json.loads(files["adapter_config.json"])
    assert (config["base_model_name_or_path"], config["revision"]) == (BASE, COMMIT)
    assert metadata(files["README.md"])["base_model"] == BASE


def test_an_adapter_of_a_copy_on_the_hub_names_the_one_that_its_owner_names(hub: HubAccount, tmp_path: Path) -> None:
    manifest = adapter_run(tmp_path / "adapter", "me/copy", COMMIT)
    manifest["model"]["licence"] = "llama2"
    (tmp_path / "adapter/run.json").write_text(json.dumps(manifest))
    push(hub, tmp_path / "adapter", base_hub_id=BASE)
    files = published_files(hub, "model")
    config, run, card = (json.loads(files["adapter_config.json"]), json.loads(files["run.json"]), files["README.md"])
    assert (config["base_model_name_or_path"], config["revision"]) == (BASE, None)
    assert run["model"]["id"] == run["recipe"]["model"] == metadata(card)["base_model"] == BASE
    assert metadata(card)["license"] == "llama2"
    assert COMMIT not in card.decode().split("## Training")[0]


def test_a_packaged_base_keeps_its_licence_under_a_hub_id(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", "pkg:mmpref.testbed/model", None)  # a run that recorded no licence
    push(hub, tmp_path / "adapter", base_hub_id="me/testbed-vlm")
    assert metadata(published_files(hub, "model")["README.md"])["license"] == "apache-2.0"


def test_a_packaged_base_is_named_nowhere_once_it_has_a_hub_id(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", "pkg:mmpref.testbed/model", None)
    push(hub, tmp_path / "adapter", base_hub_id="me/testbed-vlm")
    files = published_files(hub, "model")
    assert not [name for name, content in files.items() if b"pkg:" in content]
    assert metadata(files["README.md"])["base_model"] == "me/testbed-vlm"


def test_an_evaluation_joins_the_adapters_card(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    evaluation_run(tmp_path / "evaluation", adapter_facts(tmp_path / "adapter"))
    push(hub, tmp_path / "adapter")
    before = published_files(hub, "model")
    done = push(hub, tmp_path / "evaluation")
    after = published_files(hub, "model")
    assert done.changed
    assert len(hub.hub.titles("model", f"{hub.name}/thing")) == 3
    card = after.pop("README.md")
    before.pop("README.md")
    assert after == before
    assert b"0.891 [0.881, 0.901]" in card
    assert metadata(card)["model-index"][0]["name"] == "thing"
    assert metadata(card)["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.891
    assert metadata(card)["base_model"] == BASE
    assert not push(hub, tmp_path / "evaluation").changed
    assert not push(hub, tmp_path / "adapter").changed
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "It seems that you are about to commit a data file")
        push(hub, tmp_path / "evaluation", push_samples=True)
    folder = f"evaluation/{RECIPE_HASH[:8]}"
    assert {f"{folder}/results.json", f"{folder}/samples/base-pope.parquet"} <= published_files(hub, "model").keys()


def test_kept_checkpoints_are_adapters_of_the_same_base(hub: HubAccount, tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    adapter_run(path, str(tmp_path / "base"), None)
    for step in (2, 4):
        kept = path / f"checkpoints/checkpoint-{step}"
        kept.mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (kept / name).write_bytes((path / name).read_bytes())
    push(hub, path, base_hub_id=BASE)
    files = published_files(hub, "model")
    names_nothing_of(files, tmp_path)
    configs = [json.loads(content) for name, content in files.items() if name.endswith("adapter_config.json")]
    assert [config["base_model_name_or_path"] for config in configs] == [BASE] * 3
    (path / "checkpoints/checkpoint-2/adapter_model.safetensors").unlink()
    (path / "checkpoints/checkpoint-2/adapter_config.json").unlink()
    push(hub, path, base_hub_id=BASE)
    assert not [name for name in published_files(hub, "model") if "checkpoint-2" in name]


def test_records_are_a_dataset_that_plain_datasets_load(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:

    path = tmp_path / "evaluation"
    evaluation_run(path, {"id": str(tmp_path / "adapter"), "revision": None, "weights": "0"})
    for name in ("base-pope", "adapter-pope", "base-chair"):
        rows = [{"id": str(n), "prompt": "Is it?", "answer": name, "counts": "{}"} for n in range(3)]
        pq.write_table(pa.Table.from_pylist(rows), path / "samples" / f"{name}.parquet")
    done = push(hub, path, "records", samples_only=True)
    assert done.repo_type == "dataset"
    assert not push(hub, path, "records", samples_only=True).changed
    files = published_files(hub, "dataset", "records")
    names_nothing_of(files, tmp_path)
    assert {"results.json", "run.json", "samples/base-chair.parquet"} <= files.keys()
    assert "| pope | <code>lmms-lab/POPE</code> | 9,000 | 500 | test |" in files["README.md"].decode()
    script = (
        "import datasets, sys\n"
        "for config, split in (('pope', 'base'), ('pope', 'adapter'), ('chair', 'base')):\n"
        "    rows = datasets.load_dataset(sys.argv[1], config, split=split)\n"
        "    assert list(rows['answer']) == [f'{split}-{config}'] * 3\n"
    )
    loaded = bare.python(script, f"{hub.name}/records", environment=hub_env)
    assert loaded.returncode == 0, loaded.stderr
    (path / "samples/base-chair.parquet").unlink()
    push(hub, path, "records", samples_only=True, replace=True)
    assert "samples/base-chair.parquet" not in published_files(hub, "dataset", "records")
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    with pytest.raises(RunError, match="no per-sample records"):
        push(hub, tmp_path / "adapter", "records", samples_only=True)


def test_a_full_disk_is_said_before_anything_is_published(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # fails as a full disk does
    try:
        with pytest.raises(RunError, match=r"No room on the disk to write .*mmpref-publish-"):
            push(hub, tmp_path / "adapter")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert not hub.hub.store.repos.keys() & {("model", f"{hub.name}/thing")}
    push(hub, tmp_path / "adapter")


def test_results_do_not_make_a_repository(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    evaluation_run(tmp_path / "evaluation", adapter_facts(tmp_path / "adapter"))
    with pytest.raises(UsageError, match="no model repository"):
        push(hub, tmp_path / "evaluation")


def test_results_of_other_weights_or_of_a_base_alone_are_refused(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    push(hub, tmp_path / "adapter")
    before = published_files(hub, "model")
    evaluation_run(tmp_path / "other", {**adapter_facts(tmp_path / "adapter"), "weights": "0" * 64})
    with pytest.raises(UsageError, match="other weights"):
        push(hub, tmp_path / "other")
    served = {"id": "http://127.0.0.1:8000/v1#my-lora", "revision": None, "weights": None}
    evaluation_run(tmp_path / "served", served)
    with pytest.raises(UsageError, match="an adapter behind a server"):
        push(hub, tmp_path / "served")
    evaluation_run(tmp_path / "base")
    with pytest.raises(UsageError, match="base model only"):
        push(hub, tmp_path / "base")
    assert published_files(hub, "model") == before


def test_weights_that_are_not_in_lfs_are_compared_too(hub: HubAccount, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(f"{hub.name}/thing")
    api.upload_file(repo_id=f"{hub.name}/thing", path_in_repo=".gitattributes", path_or_fileobj=b"*.png binary\n")
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    (tmp_path / "adapter/adapter_model.safetensors").write_bytes(b"weights")
    push(hub, tmp_path / "adapter")
    assert hub.hub.tree("model", f"{hub.name}/thing")["adapter_model.safetensors"].sha256 is None
    evaluation_run(tmp_path / "other", {**adapter_facts(tmp_path / "adapter"), "weights": "0" * 64})
    with pytest.raises(UsageError, match="other weights"):
        push(hub, tmp_path / "other")
    evaluation_run(tmp_path / "same", adapter_facts(tmp_path / "adapter"))
    assert push(hub, tmp_path / "same").changed


def test_results_of_another_adapter_are_refused(hub: HubAccount, tmp_path: Path) -> None:
    """Of another repository it is another one where its weights are others."""
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    push(hub, tmp_path / "adapter")
    elsewhere = {**adapter_facts(tmp_path / "adapter"), "id": "me/other", "revision": COMMIT}
    evaluation_run(tmp_path / "other", {**elsewhere, "weights": "0" * 64})
    with pytest.raises(UsageError, match="the adapter me/other, whose weights are not those of") as refused:
        push(hub, tmp_path / "other")
    assert refused.value.hint == "Use --hub-model-id=me/other."
    evaluation_run(tmp_path / "same", elsewhere)
    assert push(hub, tmp_path / "same").changed


def test_a_token_in_a_file_stops_the_push(hub: HubAccount, dataset: Path) -> None:
    run = json.loads((dataset / "run.json").read_text())
    run["recipe"]["builder"]["note"] = "hf_" + "a" * 34
    (dataset / "run.json").write_text(json.dumps(run))
    with pytest.raises(HubError, match="token"):
        push(hub, dataset)
    assert hub.hub.faults.calls("commit") == []


def test_a_folder_of_runs_names_them(hub: HubAccount, dataset: Path) -> None:
    with pytest.raises(RunError, match="not a run directory") as told:
        push(hub, dataset.parent)
    assert told.value.hint == f"Runs in it: {dataset}."


def test_what_is_no_finished_run_is_refused(hub: HubAccount, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        push(hub, tmp_path)
    (tmp_path / "run.json").write_text('{"command": "reproduce", "recipe": {}}')
    with pytest.raises(RunError, match="nothing to publish"):
        push(hub, tmp_path)


def test_the_command(hub: HubAccount, hub_env: dict[str, str], dataset: Path) -> None:
    done = bare.mmpref(["publish", dataset, "--hub-dataset-id", f"{hub.name}/pairs", "--json"], hub_env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["url"] == f"{hub.endpoint}/datasets/{hub.name}/pairs"
    token = hub.token.encode()
    assert not [path for path, content in published_files(hub, "dataset", "pairs").items() if token in content]
    assert not [file for file in dataset.rglob("*") if file.is_file() and token in file.read_bytes()]
    wrong = bare.mmpref(["publish", dataset, "--hub-model-id", f"{hub.name}/pairs"], hub_env)
    assert wrong.returncode == 2
    assert "Use --hub-dataset-id" in wrong.stderr
