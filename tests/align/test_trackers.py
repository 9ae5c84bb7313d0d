"""Trackers, offline: what they write stays in the run, is not published, and is tagged in the card."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mmpref.align import report_to, trackers
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.errors import UsageError
from mmpref.hub._local_files import local_files
from mmpref.hub.cards.model import model_card, write_model_card
from mmpref.hub.cards.origin_tags import origin_tags, tracker_links
from mmpref.hub.private import public

from .conftest import MODEL

SPACE = "https://huggingface.co/spaces/me/curves"


def tracked(name: str, preferences: Path, path: Path) -> dict:
    options = {"learning_rate": 1e-3, "max_steps": 2, "per_device_train_batch_size": 2, "report_to": name}
    recipe = TrainRecipe(
        MODEL, (str(preferences),), lora=LoraSettings(2, 4), trainer={**options, "gradient_accumulation_steps": 1}
    )
    return train(recipe, path, write_card=write_model_card)


def read(name: str, folder: Path) -> list[float]:
    """The losses that a tracker has, as its own files say."""
    if name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder)).Reload()
        return [scalar.value for scalar in events.Scalars("train/loss")]
    if name == "mlflow":
        import mlflow

        database = folder / "mlflow.db"
        client = mlflow.MlflowClient(f"sqlite:///{database}" if database.is_file() else folder.as_uri())
        (experiment,) = (one for one in client.search_experiments() if one.name == trackers.PROJECT)
        (run,) = client.search_runs([experiment.experiment_id])
        return [point.value for point in client.get_metric_history(run.info.run_id, "loss")]
    if name == "trackio":
        (file,) = folder.glob(f"{trackers.PROJECT}*.db")
        rows = sqlite3.connect(file).execute("SELECT metrics FROM metrics ORDER BY step").fetchall()
        return [logged["train/loss"] for (text,) in rows if "train/loss" in (logged := json.loads(text))]
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    items = [item for record in records(file.read_bytes()) for item in Record.FromString(record).history.item]
    return [json.loads(item.value_json) for item in items if "/".join(item.nested_key or [item.key]) == "train/loss"]


def records(content: bytes) -> Iterator[bytes]:
    """Of wandb's file: a head of 7 bytes, then LevelDB's log: blocks of 32 KiB of parts (checksum, length, kind)."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        _, length, kind = struct.unpack_from("<IHB", content, at)
        if kind == 0:  # the rest of a block that holds no head
            at += -at % 32768
            continue
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if 32768 - at % 32768 < 7:
            at += -at % 32768
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


@pytest.mark.parametrize("name", [name for name in report_to.TRACKERS if name != report_to.CODECARBON])
def test_a_tracker_writes_into_the_run(
    name: str, preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(name) is None:  # not imported: what they read then must be this run's
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    path = tmp_path / "run"
    manifest = tracked(name, preferences, path)
    assert manifest["trackers"] == [{"name": name, "path": f"trackers/{name}", "url": None}]
    logged = [row["loss"] for row in map(json.loads, (path / "log.jsonl").read_text().splitlines())]
    assert read(name, path / "trackers" / name) == pytest.approx(logged, rel=1e-3)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"], "nothing lies beside the run"
    assert not [file for file in local_files(path) if file.startswith("trackers/")]
    assert f"\n- {name}\n" in (path / "README.md").read_text().split("---")[1]
    assert {key: os.environ.get(key) for key in before} == before


def test_a_tracker_that_is_not_there_is_told_before_any_work(
    preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"no tracker 'tensorbord'.* trackio, wandb"):
        tracked("tensorbord", preferences, tmp_path / "run")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="pip install wandb"):
        report_to.check(["wandb"])
    assert not (tmp_path / "run").exists()


def test_what_the_user_set_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "mine")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    with trackers.in_run(["tensorboard", "trackio"], tmp_path):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == "mine"
        assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackers" / "trackio")
    assert [entry.name for entry in (tmp_path / "trackers").iterdir()] == ["trackio"]
    facts = trackers.facts(["tensorboard", "trackio"], tmp_path, tmp_path, tmp_path)
    assert [fact["path"] for fact in facts] == [None, "trackers/trackio"]
    assert "TRACKIO_DIR" not in os.environ
    assert report_to.names_of(["wandb", "wandb", "none"]) == ["wandb"]
    assert report_to.names_of(None) == report_to.names_of("none") == []


def test_the_card_has_tags_and_links() -> None:
    seen = {"trackers": [{"name": "trackio", "path": "trackers/trackio", "url": SPACE}]}
    assert origin_tags(seen) == ["trackio", f"trackio:{SPACE}"]
    assert origin_tags({}) == []
    assert origin_tags({"job": "68f1"}) == ["hf_jobs"]
    manifest = {
        "command": "train",
        "recipe": {"method": "dpo", "model": MODEL},
        "recipe_hash": "0" * 64,
        "model": {"id": MODEL, "revision": None},
        "method": "dpo",
        **seen,
    }
    metadata = yaml.safe_load(model_card(manifest).split("---")[1])
    assert f"trackio:{SPACE}" in metadata["tags"]
    assert f"The curves of the training: [trackio]({SPACE})." in model_card(manifest)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://wandb.ai/me/mmpref/runs/3f", True),
        ("https://mlflow.example.org/#/experiments/1/runs/ab", True),
        ("http://8.8.8.8:5000/#/experiments/1/runs/ab", True),
        ("http://127.0.0.1:5000/#/experiments/1/runs/ab", False),
        ("http://10.0.0.7/x", False),
        ("http://tracker:5000/x", False),
        ("https://me:secret@mlflow.example.org/x", False),
        ("https://a.b/x) [evil](https://c.d", False),
        ("javascript:alert(1)", False),
        ("https://[", False),
        (None, False),
    ],
)
def test_links_are_those_that_others_can_reach(url: str | None, shown: bool) -> None:
    seen = {"trackers": [{"name": "mlflow", "path": None, "url": url}]}
    assert tracker_links(seen) == (f"[mlflow]({url})" if shown else "")


def test_a_page_of_a_tracker_is_no_folder_of_the_machine() -> None:
    page = {"trackers": [{"name": "mlflow", "path": None, "url": "https://mlflow.example.org/#/experiments/1/runs/ab"}]}
    assert public(page) == page
    assert public({"text": "see /home/someone/runs"}) != {"text": "see /home/someone/runs"}
