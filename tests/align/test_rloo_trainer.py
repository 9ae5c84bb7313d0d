"""RLOO on TRL's trainer: what is rewarded, by whom, on which scale, and the same after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpref.align.preference_data import Pairs, collect_pairs
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.rloo_trainer import NormalizedReward, inputs_for_trl, open_reward
from mmpref.align.train import train
from mmpref.errors import InputError, ModelError, UsageError
from mmpref.tables.open import open_table
from mmpref.testbed.render import SIDE
from mmpref.types import Message, ModelRef, text_of
from mmpref.vlm.quantization import Placement
from tests.vlm.tiny import BUILDERS, tiny

from .conftest import MODEL
from .cut import whole_and_cut
from .test_families import made


def recipe(data: Path, **changes: Any) -> TrainRecipe:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "save_steps": 2,
    }
    loss = {"reward": "testbed-oracle", "max_answer_tokens": 30, "temperature": 1.5}
    settings: dict[str, Any] = {"lora": LoraSettings(4, 8), "trainer": trainer, "loss": loss, **changes}
    return TrainRecipe(MODEL, (str(data),), "rloo", **settings)


def log_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "step_time"} for row in rows]


@pytest.fixture
def pairs(preferences: Path, tmp_path: Path) -> Pairs:
    (tmp_path / "rows").mkdir()
    return collect_pairs([open_table(str(preferences))], tmp_path / "rows", image_token="<image>")


def test_a_batch_that_no_step_can_be_made_of_is_refused(preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no step: one takes 2 rows, .* there is 1 row\."):
        train(recipe(preferences, limit=1), tmp_path / "run")


@pytest.mark.long
def test_it_trains_and_resumes_bit_for_bit(preferences: Path, tmp_path: Path) -> None:
    whole, again = whole_and_cut(recipe(preferences), tmp_path)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "cut")
    assert whole["reward"] == again["reward"]
    assert whole["reward"]["deviation"] > 0
    assert {"reward", "kl", "loss"} <= whole["final"].keys()


@pytest.mark.parametrize("lacks", ["chosen", "rejected"])
def test_it_needs_the_pairs_that_its_rewards_are_normalised_over(lacks: str, preferences: Path, tmp_path: Path) -> None:
    [file] = (preferences / "data").iterdir()
    pq.write_table(pq.read_table(file).drop_columns(lacks), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=f"lacks .*{lacks}"):
        train(recipe(tmp_path / "train.parquet"), tmp_path / "run")


def by_length(images: list[Image.Image], prompt: list[Message], answers: list[str]) -> list[float]:
    assert images[0].size == (SIDE, SIDE)
    assert prompt[-1].role == "user"
    assert "<image>" not in prompt[-1].content
    return [float(len(answer)) for answer in answers]


def by_words(images: list[Image.Image], prompt: list[Message], answers: list[str]) -> list[float]:
    return [float(len(answer.split())) for answer in answers]


def constant(images: list[Image.Image], prompt: list[Message], answers: list[str]) -> list[float]:
    return [1.0] * len(answers)


def too_few(images: list[Image.Image], prompt: list[Message], answers: list[str]) -> list[float]:
    return [1.0]


def test_rewards_are_normalised_over_the_datas_answers(pairs: Pairs, tmp_path: Path) -> None:
    reward = open_reward("tests.align.test_rloo_trainer:by_length", ModelRef(MODEL), Placement("cpu"))
    scale = NormalizedReward(reward, "length", pairs, tmp_path / "scale.json")
    lengths = [
        len(row[name][0]["content"])
        for row in (pairs.dataset[n] for n in range(len(pairs.dataset)))
        for name in ("chosen", "rejected")
    ]
    mean = sum(lengths) / len(lengths)
    deviation = (sum((one - mean) ** 2 for one in lengths) / (len(lengths) - 1)) ** 0.5
    assert scale.scale == pytest.approx({"mean": mean, "deviation": deviation})
    images = [Image.new("RGB", (SIDE, SIDE))]
    turns = [{"role": "user", "content": [{"type": "image", "image": images[0]}, {"type": "text", "text": "What?"}]}]
    said = scale(
        [turns] * 3,
        [[{"role": "assistant", "content": text}] for text in ("a", "bb", "ccc")],
        [images] * 3,
        [4, 4, 7],
        trainer_state=None,
    )
    assert said == pytest.approx([(size - mean) / deviation for size in (1, 2, 3)])
    assert NormalizedReward(constant, "kept", pairs, tmp_path / "scale.json").scale == scale.scale, (
        "measured once a run"
    )


def test_rewards_that_tell_nothing_or_too_little(pairs: Pairs, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the same reward"):
        NormalizedReward(constant, "constant", pairs, tmp_path / "a.json")
    with pytest.raises(ModelError, match="1 values for 2 answers"):
        NormalizedReward(too_few, "too few", pairs, tmp_path / "b.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rewards_that_are_no_numbers(value: float, pairs: Pairs, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"broken gives {value} as the value"):
        NormalizedReward(lambda _images, _prompt, _answers: [1.0, value], "broken", pairs, tmp_path / "scale.json")


def test_a_reward_model_rewards(preferences: Path, tmp_path: Path) -> None:
    trainer = {
        "learning_rate": 3e-3,
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
    }
    train(
        TrainRecipe(MODEL, (str(preferences),), "reward-model", lora=LoraSettings(4, 8), trainer=trainer),
        tmp_path / "reward",
    )
    loss = {"reward": str(tmp_path / "reward"), "max_answer_tokens": 20, "samples": 2}
    manifest = train(recipe(preferences, loss=loss), tmp_path / "run")
    assert manifest["steps"] == 4
    assert manifest["reward"]["name"] == str(tmp_path / "reward")


@pytest.mark.parametrize(
    "loss", [{}, {"reward": "x", "samples": 1}, {"reward": "x", "temperature": 0}, {"reward": "a.b:c"}]
)
def test_settings_that_make_no_sense(loss: dict[str, Any], preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        train(recipe(preferences, loss=loss), tmp_path / "run")


@pytest.mark.long
def test_samples_are_the_policys_whatever_its_config_says(
    greedy_by_its_config: str, preferences: Path, tmp_path: Path
) -> None:
    asked = recipe(preferences)
    asked = replace(asked, trainer={**asked.trainer, "max_steps": 2})
    train(asked, tmp_path / "plain")
    train(replace(asked, model=greedy_by_its_config), tmp_path / "qwen")
    assert log_of(tmp_path / "plain") == log_of(tmp_path / "qwen")


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_what_processors_make_reaches_trl_or_is_refused_by_name(name: str) -> None:
    """LLaVA-OneVision's counts of images are of no use where every row has one; VideoLLaMA 3 needs its merge sizes."""
    prompter = tiny(name).prompter
    picture = Image.new("RGB", (24, 16))

    def named(images: int) -> dict[str, Any]:
        made = prompter.prepare([Message("user", "w1")], [picture] * images)
        return {key: value for key, value in made.items() if key not in ("input_ids", "attention_mask")}

    if name == "video_llama_3":
        with pytest.raises(ModelError, match=r"cannot train me/vlm: TRL's trainer does not hand on image_merge_sizes"):
            inputs_for_trl(named(1), "me/vlm")
        return
    assert {"batch_num_images", "labels"}.isdisjoint(inputs_for_trl(named(1), "me/vlm"))
    if name == "llava_onevision":
        with pytest.raises(ModelError, match="on rows of several images"):
            inputs_for_trl(named(2), "me/vlm")


def test_rows_of_several_images_are_refused_before_anything_is_rewarded(tmp_path: Path) -> None:
    """The row that TRL cannot train is the last of several."""
    for number in range(2):
        Image.new("RGB", (24, 16), (9 * number, 0, 0)).save(tmp_path / f"{number}.png")
    shown = [["0.png"], ["0.png"], ["0.png", "1.png"]]
    texts = {"prompt": "w1", "chosen": "w2", "rejected": "w3"}
    rows = [{"images": images, **texts, "chosen": f"w4 w{number + 5}"} for number, images in enumerate(shown)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "scratch").mkdir()
    reward = "tests.align.test_rloo_trainer:by_words"
    with pytest.raises(ModelError, match=r"rloo cannot train .* on rows of several images"):
        made(tiny("llava_onevision"), data, tmp_path / "scratch", "rloo", reward=reward, samples=2)
    assert not (tmp_path / "scratch/reward.json").exists()
    data.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    (tmp_path / "one").mkdir()
    made(tiny("llava_onevision"), data, tmp_path / "one", "rloo", reward=reward, samples=2)


def test_a_reward_that_fails_names_the_row(pairs: Pairs, tmp_path: Path) -> None:
    third = text_of(pairs.dataset[2]["chosen"])

    def fails(images: list[Image.Image], prompt: list[Message], answers: list[str]) -> list[float]:
        return [1.0 / (answers[0] != third)] * len(answers)

    with pytest.raises(ModelError, match=r"The reward own fails on .*, row 2 \(counted from 0\): ZeroDivisionError"):
        NormalizedReward(fails, "own", pairs, tmp_path / "scale.json")
