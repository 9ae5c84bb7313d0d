"""What is pushed names no folder of this machine: not with spaces, not under /data, not as a URL, not relative."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.hub.cards.model import model_card, write_model_card
from mmpref.hub.private import LEFT_OUT, portable, public
from mmpref.images import read_under
from tests.hub.card_parts import dataset_card
from tests.hub.pushed import adapter_facts, published_files, push
from tests.hub.runs import COMMIT, adapter_manifest, adapter_run, dataset_run, evaluation_run
from tests.hub.test_publish_run import BASE
from tests.hub_fixtures import HubAccount

FOLDERS = (
    "/data/alice smith/client-acme",
    "file:///data/alice%20smith/client-acme",
    "~/alice smith/client-acme",
    "./alice smith/client-acme",
    "../alice smith/client-acme",
    "alice smith/client-acme",
    "client-acme/of-alice",
    "C:\\Users\\alice smith\\client-acme",
)


def _silent(files: dict[str, bytes]) -> None:
    for name, content in files.items():
        for word in (b"alice", b"client-acme", b"smith"):
            assert word not in content, f"{name} says {word!r}"


def _inside(folder: str, name: str) -> str:
    return f"{folder}\\{name}" if "\\" in folder else f"{folder}/{name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_dataset_names_no_folder(hub: HubAccount, tmp_path: Path, folder: str) -> None:
    path = tmp_path / "pairs"
    manifest = dataset_run(path)
    source, model = _inside(folder, "sft.jsonl"), _inside(folder, "vlm")
    manifest["source"] |= {"id": source, "revision": None, "fingerprint": "sha256:1", "licence": None}
    manifest["model"] = {"id": model, "revision": None}
    builder = {**manifest["recipe"]["builder"], "words": _inside(folder, "words.txt"), "note": f"images of {folder}/x"}
    manifest["recipe"] |= {"source": source, "model": model, "image_root": [_inside(folder, "imgs")]}
    manifest["recipe"]["builder"] = builder if folder.startswith(("/", "file", "~")) else {**builder, "note": "none"}
    report = json.loads((path / "report.json").read_text())
    for kept in report["skipped"]["no-image"]["first"]:
        kept["detail"] = f"There is no image file '9.png' under {folder}/imgs, and {_inside(folder, '9.png')}."
    (path / "report.json").write_text(json.dumps(report))
    (path / "run.json").write_text(json.dumps(manifest))
    write_dataset_card(path, manifest)
    push(hub, path)
    files = published_files(hub, "dataset")
    _silent({name: content for name, content in files.items() if not name.endswith(".parquet")})
    card = files["README.md"].decode()
    for shown in ("/path/to/sft.jsonl", "/path/to/vlm", "/path/to/imgs", "/path/to/words.txt"):
        assert shown in card
    assert json.loads(files["report.json"])["skipped"]["no-image"]["count"] == 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_adapter_names_no_folder(hub: HubAccount, tmp_path: Path, folder: str) -> None:
    path = tmp_path / "adapter"
    base, data = _inside(folder, "vlm"), _inside(folder, "pairs")
    manifest = adapter_run(path, base, None)
    manifest["datasets"] = [{"id": data, "revision": None, "fingerprint": "sha256:1", "rows": 3}]
    manifest["recipe"]["dataset"] = [data]
    held_out = [f"{_inside(folder, 'judged')}:dev", f"{_inside(folder, 'more')}/judged:dev"]
    manifest["recipe"]["loss"]["held_out"] = held_out
    manifest["held_out"] = {name: {"rows": 3, "accuracy": 0.5} for name in held_out}
    (path / "run.json").write_text(json.dumps(manifest))
    (path / "tokenizer_config.json").write_text(json.dumps({"name_or_path": base, "sep_token": "/s"}))
    push(hub, path)
    files = published_files(hub, "model")
    _silent(files)
    assert json.loads(files["tokenizer_config.json"])["sep_token"] == "/s"
    published = json.loads(files["run.json"])
    assert published["recipe"]["dataset"] == ["/path/to/pairs"]
    assert list(published["held_out"]) == ["/path/to/judged:dev", "/path/to/judged:dev (2)"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_samples_of_an_evaluation_name_no_folder(hub: HubAccount, tmp_path: Path, folder: str) -> None:
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    push(hub, tmp_path / "adapter")
    adapter = {**adapter_facts(tmp_path / "adapter"), "id": _inside(folder, "adapter")}
    results = evaluation_run(tmp_path / "evaluation", adapter)
    results["adapter"] = adapter
    for entry in results["models"]:
        entry["ref"] = {
            "model": _inside(folder, "vlm"),
            "revision": None,
            "adapter": adapter["id"],
            "adapter_revision": None,
        }
    for entry in results["results"]:
        entry["data"] = {"id": _inside(folder, "pope.jsonl"), "revision": None, "fingerprint": "sha256:1"}
    (tmp_path / "evaluation/results.json").write_text(json.dumps(results))
    push(hub, tmp_path / "evaluation", push_samples=True)
    _silent(published_files(hub, "model"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_server_that_names_a_model_by_its_folder_gives_none_away(tmp_path: Path, folder: str) -> None:
    names = {"model": "vlm", "adapter": "lora", "judge": "judge"}
    recipe = {role: f"http://h:8000/v1#{_inside(folder, name)}" for role, name in names.items()}
    model, adapter = recipe["model"], recipe["adapter"]
    results = evaluation_run(tmp_path / "evaluation")
    described = {"id": adapter, "revision": None, "weights": None}
    manifest = json.loads((tmp_path / "evaluation/run.json").read_text())
    manifest |= {
        "recipe": recipe,
        "model": {"id": model, "revision": None},
        "adapter": described,
        "server": {"model": {"url": "http://h:8000/v1", "model": _inside(folder, "vlm")}},
    }
    ref = {"model": model, "revision": None, "adapter": adapter, "adapter_revision": None}
    results |= {"model": manifest["model"], "adapter": described}
    results["models"][1]["ref"] = ref
    results, manifest = public(results, manifest), public(manifest)
    _silent({"results": json.dumps(results).encode(), "manifest": json.dumps(manifest).encode()})
    shown = "http://h:8000/v1#/path/to/"
    assert (manifest["model"]["id"], results["models"][1]["ref"]["adapter"]) == (f"{shown}vlm", f"{shown}lora")
    assert manifest["recipe"] == {role: f"{shown}{name}" for role, name in names.items()}
    assert portable(model) == f"{shown}vlm"


def test_what_a_server_calls_a_model_stays_where_it_is_no_folder() -> None:
    named = {"model": {"id": "http://h:8000/v1#me/vlm", "revision": None}, "recipe": {"judge": "https://a.b/v1#gpt-4o"}}
    assert public(named) == portable(named) == named


@pytest.mark.parametrize("name", ["train", "dpo", "loss", "rows", "pairs", "last"])
def test_a_folder_called_as_something_else_is_not_taken_for_it(name: str) -> None:
    """A word is the folder's name where a model or data are named, and says what it says elsewhere."""
    over = {"first": 7, "last": 10, "rows": 4, "pairs": 104}
    manifest = adapter_manifest(final_over=over, datasets=[{"id": name, "revision": None, "rows": 3}])
    manifest["recipe"]["dataset"], manifest["recipe"]["loss"]["held_out"] = [name], [name]
    manifest["held_out"] = {name: {"id": name, "revision": None, "rows": 3, "accuracy": 0.5}}
    published, of = public(manifest), f"/path/to/{name}"
    held_out = published.pop("held_out")
    assert held_out == {of: {"id": of, "revision": None, "rows": 3, "accuracy": 0.5}}
    assert published["datasets"] == [{"id": of, "revision": None, "rows": 3}]
    assert published["recipe"]["dataset"] == published["recipe"]["loss"]["held_out"] == [of]
    changed = {"datasets": manifest["datasets"], "recipe": manifest["recipe"]}
    expected = {key: value for key, value in public(adapter_manifest(final_over=over)).items() if key not in changed}
    assert {key: value for key, value in published.items() if key not in changed} == expected
    del manifest["held_out"]
    assert "(a mean over 104 pairs, steps 7 to 10)" in model_card(manifest)


def test_texts_of_the_files_that_pushing_does_not_write(hub: HubAccount, tmp_path: Path) -> None:
    path = tmp_path / "alice smith" / "adapter"
    manifest = adapter_run(path, BASE, COMMIT)
    write_model_card(path, manifest)
    with open(path / "README.md", "a") as card:
        card.write(f"\nMade in {path}/client-acme/more of/x, by hand.\n")
    note = f"wrote\u2028{path}/client-acme x/y"
    (path / "log.jsonl").write_text(json.dumps({"step": 1, "note": note}, ensure_ascii=False) + "\n", encoding="utf-8")
    template = "{% for m in messages %}<s>/{{ m }}</s>/a/b\n{% endfor %}"
    config = {"cache": f"{path}/client-acme/here", "chat_template": template}
    (path / "processor_config.json").write_text(json.dumps(config))
    push(hub, path)
    files = published_files(hub, "model")
    _silent(files)
    assert json.loads(files["processor_config.json"]) == {"cache": "/path/to/here", "chat_template": template}
    assert json.loads(files["log.jsonl"]) == {"step": 1, "note": LEFT_OUT}
    assert "Made in /path/to/x, by hand." in files["README.md"].decode()


def test_what_is_no_path_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = adapter_manifest()
    manifest["datasets"] = manifest["datasets"][:1]
    manifest["recipe"]["dataset"] = ["me/bdhs-5k"]
    prompt = "Say what/how/why. /no_think and 3/4, https://x.y/a/b"
    kept = {"prompt": prompt, "embedder": "pkg:mmpref.testbed/embedder", "other": "me/embedder"}
    manifest["recipe"]["loss"] = {**kept, "pattern": r"model\.layers\.(?:q|v)"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me/bdhs-5k").mkdir(parents=True)  # a folder of the same name: the run's data came from the Hub
    assert public(manifest) == manifest
    (tmp_path / "me/embedder").mkdir()
    assert public(manifest)["recipe"]["loss"]["other"] == "/path/to/embedder"
    registered = {"id": "testbed", "revision": None, "fingerprint": "testbed/train of mmpref 0.1.0"}
    assert public({"source": registered, "recipe": {"source": "testbed"}})["source"]["id"] == "testbed"


def test_folders_that_are_called_like_the_words_of_a_manifest_change_none_of_them() -> None:
    """Such as ``model`` and ``train``: they are names where names stand, and nowhere else."""
    manifest = adapter_manifest(model={"id": "model", "revision": None, "licence": None})
    manifest["datasets"] = [{"id": name, "revision": None, "rows": 10} for name in ("train", "dpo", "auto")]
    manifest["recipe"] |= {"model": "model", "dataset": ["train", "dpo", "auto"]}
    manifest["held_out"] = {"loss": {"id": "loss", "revision": None, "accuracy": 0.5}}
    told = public(manifest)
    assert told["model"]["id"] == told["recipe"]["model"] == "/path/to/model"
    assert [one["id"] for one in told["datasets"]] == ["/path/to/train", "/path/to/dpo", "/path/to/auto"]
    assert told["recipe"]["dataset"] == ["/path/to/train", "/path/to/dpo", "/path/to/auto"]
    assert [*told["held_out"]] == ["/path/to/loss"]
    assert told.keys() == manifest.keys()
    assert told["command"] == "train"
    for kept in ("method", "split", "dtype", "loss"):
        assert told["recipe"][kept] == manifest["recipe"][kept]
    del manifest["held_out"]
    assert "/path/to/model" in model_card(manifest)


def test_a_local_card_names_no_folder_either(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"model": {"id": "models/alice/vlm", "revision": None}}
    shown = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run", **changes))
    manifest = adapter_manifest(**changes)
    manifest["recipe"]["model"] = "models/alice/vlm"
    _silent({"dataset": shown.encode(), "model": model_card(manifest).encode()})


def test_absolute_paths_of_any_system_are_replaced() -> None:
    given = {"a": ["/x/y", "~/z", "C:\\data\\rows.json", "\\\\host\\share", "me/set", "./here", "../here"], "n": 1}
    shown = ["/path/to/y", "/path/to/z", "/path/to/rows.json", "/path/to/share", "me/set", *["/path/to/here"] * 2]
    assert portable(given) == {"a": shown, "n": 1}


def test_images_are_named_below_their_root(tmp_path: Path) -> None:
    """The name of an image goes into the published rows."""
    file = tmp_path / "alice/imgs/9.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    for given in (str(file), "../imgs/9.png", "9.png"):
        assert read_under(file.parent, given).name == "9.png"


def test_a_setting_that_names_a_path_is_one_whatever_its_form() -> None:
    """One rule in a card's command, in its settings and in what was asked: no bare names beside ``/path/to/...``."""
    manifest = adapter_manifest()
    chair = {"data": "/home/someone/dev.jsonl", "synonyms": "syn.txt", "images": "photos", "image_root": ["more"]}
    manifest["recipe"]["watch"] = {"benchmarks": ["chair"], "benchmark": {"chair": chair}, "split": "photos"}
    asked = {"benchmark": "chair", "label": "chair", "changed": {"synonyms": "syn.txt", "prompt": "photos"}}
    manifest |= {"evaluations": [{"step": 1, "chair/chair_i": 0.2}], "watched": {"chair": asked}}
    card, told = model_card(manifest), public(manifest)
    assert told["recipe"]["watch"]["benchmark"]["chair"] == {
        "data": "/path/to/dev.jsonl",
        "synonyms": "/path/to/syn.txt",
        "images": "/path/to/photos",
        "image_root": ["/path/to/more"],
    }
    assert told["recipe"]["watch"]["split"] == "photos"
    assert told["watched"]["chair"]["changed"] == {"synonyms": "/path/to/syn.txt", "prompt": "photos"}
    assert "watch.benchmark.chair.synonyms=/path/to/syn.txt" in card
    assert "watch.benchmark.chair.images=/path/to/photos" in card
    builder = {"synonyms": "syn.txt", "candidates": 4}
    built = {"command": "build-dataset", "recipe": {"method": "chair-rank", "builder": builder}}
    assert public(built)["recipe"]["builder"] == {"synonyms": "/path/to/syn.txt", "candidates": 4}
    unknown = {"command": "build-dataset", "recipe": {"method": "of-a-plugin-that-is-gone", "builder": builder}}
    assert public(unknown)["recipe"]["builder"] == builder


def test_what_may_be_of_the_hub_is_a_path_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One form for all that is of this machine: ``emb``, a folder, is no id beside ``/path/to/...``."""
    monkeypatch.chdir(tmp_path)
    for folder in ("emb", "truth", "judge", "policy", "testbed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "truth/rows").write_text("")
    recipe = {
        "model": None,
        "method": "corrupt",
        "annotator": "judge",
        "exclude_images_of": ["testbed", "truth/rows"],
        "builder": {"similarity_model": "emb", "show_images": False},
    }
    told = public({"command": "build-dataset", "recipe": recipe})["recipe"]
    assert told["builder"] == {"similarity_model": "/path/to/emb", "show_images": False}
    assert told["annotator"] == "/path/to/judge"
    assert told["exclude_images_of"] == ["testbed", "/path/to/rows"]
    for name in ("me/embedder", "all-MiniLM-L6-v2", "sentence-transformers/all-mpnet-base-v2"):
        of_hub = {**recipe, "builder": {"similarity_model": name}, "annotator": "policy"}
        told = public({"command": "build-dataset", "recipe": of_hub})["recipe"]
        assert told["builder"]["similarity_model"] == name
        assert told["annotator"] == "policy"
    train = {"method": "online-bdhs", "loss": {"beta": 0.1, "bdhs": {"similarity_model": "emb"}}}
    told = public({"command": "train", "recipe": train})["recipe"]
    assert told["loss"] == {"beta": 0.1, "bdhs": {"similarity_model": "/path/to/emb"}}
    changed = {"annotations": "truth/annotations.json", "relation": "truth/relation.json", "images": "me/set"}
    told = public({"command": "evaluate", "asked": {"amber": {"benchmark": "amber", "changed": changed}}})
    assert told["asked"]["amber"]["changed"] == {
        "annotations": "/path/to/annotations.json",
        "relation": "/path/to/relation.json",
        "images": "/path/to/set",
    }
