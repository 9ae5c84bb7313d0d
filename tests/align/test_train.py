"""A training run from rows to files: what it writes, that plain clients load it, that a kill changes nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import spelled_out, train
from mmpref.errors import InputError, ModelError, RunError, UsageError
from mmpref.log import logger
from mmpref.origins.revisions import training_images_of
from mmpref.recipes.schema import as_plain, fingerprint
from mmpref.registry import resolve_path
from mmpref.run.training_images import shortened
from mmpref.tables.open import open_table
from mmpref.testbed.training.build import IMAGE_TOKENS
from mmpref.types import ImageData
from mmpref.vlm.load import load_policy
from tests.forked import Forked

from .conftest import MODEL

# Checkpoints (every 2 steps) and log rows (every 3) fall on different steps, accumulation included.
TRAINER = {
    "learning_rate": 1e-3,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "save_steps": 2,
    "logging_steps": 3,
}


def recipe(model: str, dataset: str, **changes: Any) -> TrainRecipe:
    settings: dict[str, Any] = {
        "lora": LoraSettings(4, 8, 0.1),
        "projector_learning_rate": 1e-4,
        "trainer": TRAINER,
        **changes,
    }
    return TrainRecipe(model, (dataset,), **settings)


@pytest.fixture(scope="module")
def finished(preferences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    path = tmp_path_factory.mktemp("train") / "run"
    cards = []
    manifest = train(
        recipe(MODEL, str(preferences)), path, write_card=lambda where, facts: cards.append((where, facts))
    )
    assert [where for where, _ in cards] == [path]
    assert all(manifest[key] == value for key, value in cards[0][1].items())
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def test_what_a_run_holds(finished: Path, preferences: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {
        "adapter_config.json",
        "adapter_model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "log.jsonl",
        "training.png",
        "run.json",
    } <= names
    assert "README.md" not in names  # This run's card writer wrote none, and neither TRL's nor PEFT's is left.
    assert {path.name for path in (finished / ".mmpref").iterdir()} == {"recipe.json", "claim-lock", "lock"}
    manifest = json.loads((finished / "run.json").read_text())
    assert manifest["command"] == "train"
    assert manifest["modules"] == {"language_model": 21, "elsewhere": 0, "projector": 1}
    assert manifest["counts"]["rows"] == manifest["datasets"][0]["rows"]
    assert manifest["datasets"][0]["id"] == str(preferences)
    assert manifest["lengths"]["image_tokens"] == [IMAGE_TOKENS, IMAGE_TOKENS]
    assert manifest["recipe"]["loss"] == {"beta": 0.1}
    assert manifest["trainer"]["max_length"] is None
    assert manifest["trainer"]["disable_dropout"] is False
    assert manifest["probe"]["differs"] <= manifest["probe"]["tolerance"] < manifest["probe"]["changes"]
    assert {"loss", "accuracy", "margin"} <= manifest["final"].keys()


def test_the_images_that_it_was_trained_on_are_known(finished: Path, preferences: Path) -> None:
    table = open_table(str(preferences), "train")
    digests = {shortened(ImageData(image["bytes"]).sha256) for row in table for image in row["images"]}
    assert len(digests) > 1
    assert training_images_of(str(finished), None) == digests


def test_log_rows(finished: Path) -> None:
    logged = rows(finished)
    assert [row["step"] for row in logged] == [3, 6, 9, 12]
    assert {
        "loss",
        "learning_rate",
        "epoch",
        "rewards/margins",
        "rewards/accuracies",
        "logps/chosen",
        "logps/rejected",
    } <= logged[0].keys()
    assert not any("runtime" in key or "second" in key for row in logged for key in row)


def test_plain_clients_load_it_projector_included(finished: Path, preferences: Path) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from mmpref.registry import resolve_path

    config = json.loads((finished / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == resolve_path(MODEL)
    saved = load_file(finished / "adapter_model.safetensors")
    base = AutoModelForImageTextToText.from_pretrained(config["base_model_name_or_path"], dtype=torch.float32)
    original = base.model.multi_modal_projector.linear_1.weight.clone()
    model = PeftModel.from_pretrained(base, str(finished))
    wrapper = model.base_model.model.model.multi_modal_projector
    weight = saved["base_model.model.model.multi_modal_projector.linear_1.weight"]
    assert torch.equal(wrapper.modules_to_save["default"].linear_1.weight, weight)
    assert not torch.equal(weight, original)

    # transformers' own door to adapters gives the same logits, from the run directory alone.
    direct = AutoModelForImageTextToText.from_pretrained(str(finished), dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(str(finished))
    from datasets import load_dataset

    row = load_dataset("parquet", data_files=str(preferences / "data" / "*.parquet"), split="train")[0]
    content = [{"type": "image"}, {"type": "text", "text": row["prompt"][0]["content"]}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=row["images"], text=prompt, add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(direct.eval()(**inputs).logits, model.eval()(**inputs).logits)


def test_a_finished_run_is_not_redone(finished: Path, preferences: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir() if path.is_file()}
    manifest = train(recipe(MODEL, str(preferences)), finished)
    assert manifest == json.loads((finished / "run.json").read_text())
    assert before == {path.name: path.stat().st_mtime_ns for path in finished.iterdir() if path.is_file()}


def test_a_finished_run_is_not_shown_as_that_of_other_data_or_another_model(
    finished: Path, preferences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, data = Path(shutil.copytree(finished, tmp_path / "moved")), tmp_path / "data"
    model = Path(shutil.copytree(resolve_path(MODEL), tmp_path / "model"))
    shutil.copytree(preferences, data)
    own = recipe(str(model), str(data))
    manifest = json.loads((path / "run.json").read_text())
    manifest["datasets"][0]["id"] = str(data)
    (path / "run.json").write_text(json.dumps(manifest))
    identity = {"command": "train", "recipe": as_plain(own), "recipe_hash": fingerprint(spelled_out(own))}
    (path / ".mmpref/recipe.json").write_text(json.dumps(identity))
    assert train(own, path) == manifest

    [file] = (data / "data").iterdir()
    content = file.read_bytes()
    pq.write_table(pq.read_table(file).slice(1), file)
    with pytest.raises(RunError, match=r"The data set .*data has changed since .*moved was made"):
        train(own, path)
    file.write_bytes(content)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(RunError, match=r"The model .*model has changed since"):
        train(own, path)
    shutil.rmtree(model)
    shutil.rmtree(data)
    assert train(own, path) == manifest
    assert caplog.text.count("could not be checked: it is not there.") == 2


def test_another_recipe_is_refused(finished: Path, preferences: Path) -> None:
    with pytest.raises(RunError, match="another recipe"):
        train(recipe(MODEL, str(preferences), seed=1), finished)


@pytest.mark.long
@pytest.mark.parametrize("when", ["step:5", "checkpoint:3", "interrupt:7"])
def test_a_killed_run_ends_as_if_it_had_not_been(finished: Path, preferences: Path, tmp_path: Path, when: str) -> None:
    path = tmp_path / "run"
    died = Forked("tests.align.killed:main", [MODEL, str(preferences), str(path), when]).end()
    if when.startswith("interrupt"):
        assert "KeyboardInterrupt" in died.stderr
        assert (path / ".mmpref" / "training" / "checkpoints" / "checkpoint-7" / "complete.json").is_file()
    else:
        assert died.returncode == -signal.SIGKILL, died.stderr
    assert not (path / "run.json").exists()
    begun: list[int] = []
    train(recipe(MODEL, str(preferences)), path, on_progress=lambda done, total: begun.append(done))
    resumed = {"step:5": [4], "checkpoint:3": [4], "interrupt:7": [7]}[when]
    assert begun[:1] == resumed
    name = "adapter_model.safetensors"
    assert (path / name).read_bytes() == (finished / name).read_bytes()
    assert rows(path) == rows(finished)


def test_preprocessing_beside_the_training_thread_changes_nothing(
    finished: Path, preferences: Path, tmp_path: Path
) -> None:
    train(recipe(MODEL, str(preferences), trainer={**TRAINER, "dataloader_num_workers": 2}), tmp_path / "beside")
    one, other = ((run / "adapter_model.safetensors").read_bytes() for run in (finished, tmp_path / "beside"))
    assert one == other


@pytest.mark.long
def test_checkpoints_are_kept_if_asked_for(finished: Path, preferences: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    from mmpref.registry import resolve_path

    often = {**TRAINER, "save_steps": 3, "save_total_limit": None}
    train(recipe(MODEL, str(preferences), keep_checkpoints=True, trainer=often), tmp_path / "run")
    kept = sorted((tmp_path / "run/checkpoints").iterdir())
    assert len(kept) > 2
    assert not (finished / "checkpoints").exists()
    last = [(run / "adapter_model.safetensors").read_bytes() for run in (kept[-1], tmp_path / "run")]
    assert (kept[0] / "adapter_model.safetensors").read_bytes() != last[0]
    base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL))
    assert PeftModel.from_pretrained(base, str(kept[0]))


@pytest.mark.long
def test_a_run_killed_after_its_last_step_only_saves(preferences: Path, finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"

    def full(where: Path, facts: dict[str, Any]) -> None:
        raise RunError("the disk is full")

    with pytest.raises(RunError, match="the disk is full"):
        train(recipe(MODEL, str(preferences)), path, write_card=full)
    assert not (path / "run.json").exists()
    steps: list[int] = []
    train(recipe(MODEL, str(preferences)), path, on_progress=lambda done, total: steps.append(done))
    assert steps == []
    name = "adapter_model.safetensors"
    assert (path / name).read_bytes() == (finished / name).read_bytes()
    assert rows(path) == rows(finished)


def test_the_process_is_left_as_it_was(
    finished: Path, preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What imports change, an earlier run has changed. A process that does not write logs nothing but errors."""

    def state() -> tuple[Any, ...]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        return logger.level, list(warnings.filters), dict(os.environ), handlers

    before = state()
    once = recipe(MODEL, str(preferences), trainer={**TRAINER, "max_steps": 1})
    train(once, tmp_path / "run")
    assert state() == before
    monkeypatch.setenv("RANK", "1")
    before = state()
    assert train(once, tmp_path / "run") == {}
    assert state() == before


def test_an_adapter_that_learned_nothing_is_an_error(preferences: Path, tmp_path: Path) -> None:
    still = {**TRAINER, "learning_rate": 0.0, "max_steps": 1}
    with pytest.raises(RunError, match="does not change the logits"):
        train(recipe(MODEL, str(preferences), trainer=still, projector_learning_rate=0.0), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_files_that_do_not_hold_the_policy_are_an_error(finished: Path, preferences: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from mmpref.align.adapter import logits, verify_saved_adapter
    from mmpref.align.preference_data import collect_pairs
    from mmpref.tables.open import open_table
    from mmpref.types import ModelRef
    from mmpref.vlm.quantization import Placement

    from .test_trainer import make

    pairs = collect_pairs([open_table(str(preferences))], tmp_path, image_token="<image>")
    policy = load_policy(ModelRef(MODEL, adapter=str(finished)))
    batch = dict(make(load_policy(ModelRef(MODEL)), pairs, tmp_path).data_collator([pairs.dataset[0]]))
    trained = logits(policy.model, batch)
    verify_saved_adapter(finished, ModelRef(MODEL), batch, trained, "float32", Placement("cpu"))
    broken = tmp_path / "broken"
    shutil.copytree(finished, broken)
    weights = load_file(broken / "adapter_model.safetensors")
    save_file(
        {name: value * 1.01 if "projector" in name else value for name, value in weights.items()},
        broken / "adapter_model.safetensors",
    )
    with pytest.raises(RunError, match="is not the policy that was trained"):
        verify_saved_adapter(broken, ModelRef(MODEL), batch, trained, "float32", Placement("cpu"))


def test_a_full_disk_is_said_and_the_run_goes_on_later(preferences: Path, tmp_path: Path) -> None:
    import resource

    large = {"lora": LoraSettings(96, 8, 0.0), "trainer": {**TRAINER, "max_steps": 2}}
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # Enough for the pairs, not for a checkpoint.
    try:
        with pytest.raises(RunError, match=r"(?s)Cannot write .*checkpoint-2.*Make room"):
            train(recipe(MODEL, str(preferences), **large), tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert train(recipe(MODEL, str(preferences), **large), tmp_path / "run")["steps"] == 2


@pytest.mark.long
def test_a_killed_worker_and_too_little_memory_are_said_and_the_run_goes_on_later(
    finished: Path, preferences: Path, tmp_path: Path
) -> None:
    import torch

    beside = recipe(MODEL, str(preferences), trainer={**TRAINER, "dataloader_num_workers": 1})

    def kill(done: int, total: int) -> None:
        for worker in multiprocessing.active_children():
            worker.kill()
        time.sleep(0.1)

    def allocate(done: int, total: int) -> None:
        if done > 4:
            torch.empty(2**55)

    with pytest.raises(RunError, match=r"prepares batches ended.*goes on from the last checkpoint"):
        train(beside, tmp_path / "run", on_progress=lambda done, total: kill(done, total) if done == 2 else None)
    with pytest.raises(
        RunError, match=r"The memory does not suffice for the training: .*memory.*smaller --batch-size="
    ):
        train(beside, tmp_path / "run", on_progress=allocate)
    assert not (tmp_path / "run/run.json").exists()
    begun: list[int] = []
    train(beside, tmp_path / "run", on_progress=lambda done, total: begun.append(done))
    assert begun[0] == 4
    one, other = ((path / "adapter_model.safetensors").read_bytes() for path in (finished, tmp_path / "run"))
    assert one == other


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "dop"}, UsageError, "Did you mean 'dpo'"),
        ({"annotator": "me/judge"}, UsageError, "asks no annotator"),
        ({"loss": {"bta": 1}}, UsageError, "loss has no setting 'bta'"),
        ({"trainer": {"learning_rat": 1}}, UsageError, "Did you mean 'learning_rate'"),
        ({"trainer": {"precompute_ref_log_probs": True}}, UsageError, "not supported for vision"),
        ({"limit": 0}, UsageError, "at least 1"),
        ({"projector_learning_rate": -1e-3}, UsageError, "projector_learning_rate is -0.001; it must not be below 0"),
        ({"dataset": ()}, UsageError, "needs preference data"),
        ({"dataset": ("nowhere/at/all",)}, InputError, "no file or folder"),
        ({"split": "dev"}, InputError, "no split 'dev'"),
        ({"model": "/nowhere/model"}, ModelError, "Cannot load the model"),
    ],
)
def test_mistakes_are_said(
    preferences: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    import dataclasses

    with pytest.raises(error) as caught:
        train(dataclasses.replace(recipe(MODEL, str(preferences)), **changes), tmp_path / "run")
    assert message in str(caught.value)
