"""Reward models: one pass over image and prompt equals the naive two sequences, files hold what was trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmpref.align import trl_options
from mmpref.align.adapter import HEAD, lora_config
from mmpref.align.collator import PreferenceCollator
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.reward_trainer import RewardTrainer
from mmpref.align.summary import summary_rows
from mmpref.align.train import train
from mmpref.errors import InputError, ModelError
from mmpref.images import decode
from mmpref.testbed.language import CAPTION_PROMPTS, caption
from mmpref.testbed.render import png
from mmpref.testbed.world import scene
from mmpref.types import ImageData, Message, ModelRef
from mmpref.vlm.policy import Policy
from mmpref.vlm.reward_model import RewardModel, add_value_head, values
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests import bare
from tests.hub_fixtures import HubAccount
from tests.vlm.tiny import tiny

from .conftest import MODEL
from .cut import whole_and_cut
from .test_sharing import assert_equal, dataset, rows, step


def make(policy: Policy, folder: Path, checkpointing: bool, shared: bool) -> RewardTrainer:
    """A trainer whose adapter and head are no longer where they begin, which is at nothing."""
    used = trl_options.resolve(
        {"per_device_train_batch_size": 3, "gradient_checkpointing": checkpointing},
        {},
        seed=3,
        dtype="float32",
        dropout=False,
    )
    torch.manual_seed(1)
    add_value_head(policy.model)
    trainer = RewardTrainer(
        model=policy.model,
        args=trl_options.config(used, folder),
        train_dataset=dataset(),
        processing_class=policy.processor,
        peft_config=lora_config(policy, LoraSettings(4, 8), True, [HEAD]),
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy) if shared else None,
    )
    generator = torch.Generator().manual_seed(2)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name or f"{HEAD}.modules_to_save" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return trainer


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl", "smolvlm", "internvl"])
def test_a_step_is_the_naive_one(name: str, checkpointing: bool, tmp_path: Path) -> None:
    naive = make(tiny(name), tmp_path / "a", checkpointing, False)
    batch = naive.collate(rows())
    inputs = {key: value for key, value in batch.items() if key != "completion_mask"}
    base = naive.model.get_base_model()
    naive.model.train()
    hidden = base.base_model(**inputs, use_cache=False).last_hidden_state
    ends = inputs["attention_mask"].sum(1) - 1
    assert (inputs["input_ids"][torch.arange(6), ends] != naive.processing_class.tokenizer.pad_token_id).all()
    chosen, rejected = values(base, hidden[torch.arange(6), ends]).chunk(2)
    loss = -torch.log(torch.sigmoid(chosen - rejected)).mean()
    naive.model.zero_grad()
    loss.backward()
    gradients = {key: p.grad.clone() for key, p in naive.model.named_parameters() if p.grad is not None}
    assert any(HEAD in key for key in gradients)
    for shared in (True, False):
        ours = make(tiny(name), tmp_path / "b", checkpointing, shared)
        assert_equal(step(ours, ours.collate(rows())), (loss.item(), gradients))


def recipe(data: Path, **changes: Any) -> TrainRecipe:
    trainer = {
        "learning_rate": 3e-3,
        "max_steps": 6,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "save_steps": 2,
    }
    settings = {"lora": LoraSettings(4, 8), "trainer": trainer, "loss": {"held_out": (str(data),)}, **changes}
    return TrainRecipe(MODEL, (str(data),), "reward-model", **settings)  # type: ignore[arg-type]


def test_a_reward_model_learns_resumes_and_loads(preferences: Path, tmp_path: Path) -> None:
    whole, again = whole_and_cut(recipe(preferences), tmp_path)
    assert again["held_out"] == whole["held_out"]
    held = whole["held_out"][str(preferences)]
    assert held["id"] == str(preferences), "by which publishing knows a folder of this machine"
    assert held["rows"] == whole["counts"]["rows"]
    assert 0.5 < held["accuracy"] <= 1
    first, *_, last = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert first["loss"] == pytest.approx(torch.log(torch.tensor(2.0)).item(), rel=1e-5)
    assert last["loss"] < first["loss"]

    model = RewardModel.load(ModelRef(MODEL, adapter=str(tmp_path / "whole")))
    truth = scene("test", 1)
    images, prompt = [decode(ImageData(png(truth)))], [Message("user", CAPTION_PROMPTS[0])]
    answers = [
        caption(truth),
        "There is a cup and a fork at the back.",
        *(caption(scene("test", n)) for n in range(2, 12)),
    ]
    together = model.score(images, prompt, answers)
    assert len(set(together)) == len(answers)
    assert together == pytest.approx([model.score(images, prompt, [answer])[0] for answer in answers], abs=1e-5)
    other = model.score([decode(ImageData(png(scene("test", 5))))], prompt, answers[:1])
    assert abs(other[0] - together[0]) > 1e-4, "the value depends on the image"


def test_a_held_out_set_that_is_missing_is_told_before_training(preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        train(recipe(preferences, loss={"held_out": (f"{tmp_path}/nowhere:validation",)}), tmp_path / "run")
    assert not (tmp_path / "run/log.jsonl").exists()


COMMITTED = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi
from mmpref.align.preference_data import collect_pairs
from mmpref.align.reward_trainer import open_held_out

repo, pairs, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
HfApi().create_repo(repo, repo_type="dataset")

def commit(name, content):
    return HfApi().upload_file(repo_id=repo, path_in_repo=name, path_or_fileobj=content, repo_type="dataset").oid

begun = commit("train.jsonl", pairs.read_bytes())
collect_pairs([open_held_out(repo, folder)], folder, image_token="<image>", image_root=[str(pairs.parent)])
commit("README.md", b"# Said better")
again = collect_pairs([open_held_out(repo, folder)], folder, image_token="<image>")
assert [source["revision"] for source in again.sources] == [begun]
"""


def test_a_held_out_set_is_that_of_the_commit_which_the_training_began_with(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    pairs, folder = tmp_path / "pairs.jsonl", tmp_path / "rows"
    folder.mkdir()
    (tmp_path / "0.png").write_bytes(png(scene("train", 0)))
    pairs.write_text(json.dumps({"image": "0.png", "prompt": "What?", "chosen": "A cup.", "rejected": "A cat."}))
    done = bare.python(COMMITTED, f"{hub.name}/pairs", str(pairs), str(folder), environment=hub_env)
    assert done.returncode == 0, done.stderr


def test_held_out_rows_are_read_before_training_as_those_of_the_training(preferences: Path, tmp_path: Path) -> None:
    """A set whose images lie elsewhere; one row of it cannot be used, and that is told."""
    photos, rows = tmp_path / "photos", tmp_path / "rows"
    photos.mkdir()
    rows.mkdir()
    (photos / "a.png").write_bytes(png(scene("test", 1)))
    row = {"image": "a.png", "prompt": "What is it?", "chosen": "A red cup.", "rejected": "A dog."}
    held = rows / "held.jsonl"
    held.write_text("\n".join(json.dumps(one) for one in (row, {**row, "rejected": "A red cup."})) + "\n")
    trainer = {
        "learning_rate": 3e-3,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
    }
    given = recipe(preferences, loss={"held_out": (str(held),)}, trainer=trainer)
    with pytest.raises(InputError, match=r"No row of .*held\.jsonl"):
        train(given, tmp_path / "without")
    assert not (tmp_path / "without/log.jsonl").exists()
    found = train(dataclasses.replace(given, image_root=(str(photos), str(preferences))), tmp_path / "with")
    said = found["held_out"][str(held)]
    assert (said["rows"], said["skipped"]) == (1, {"equal-answers": 1})
    assert "of 1 pair, ties half (skipped: 1 equal-answers)" in str(summary_rows(found))


def test_a_policys_adapter_is_no_reward_model(preferences: Path, tmp_path: Path) -> None:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
    }
    train(TrainRecipe(MODEL, (str(preferences),), lora=LoraSettings(4, 8), trainer=trainer), tmp_path / "dpo")
    with pytest.raises(ModelError, match="no value head"):
        RewardModel.load(ModelRef(MODEL, adapter=str(tmp_path / "dpo")))
