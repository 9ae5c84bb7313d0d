"""The shipped checkpoint: its text interface, and that it sees and hallucinates as it should."""

from __future__ import annotations

import json

import pytest
import torch

from mmpref.testbed.language import CAPTION_PROMPTS, ask_exists, caption, sentences
from mmpref.testbed.render import image
from mmpref.testbed.training import measure
from mmpref.testbed.training.build import IMAGE_TOKENS
from mmpref.testbed.training.eyes import LlavaNextEyes
from mmpref.testbed.world import scene

from .conftest import ROOT


def _turn(prompt: str, *, listed: bool = True) -> dict:
    content = [{"type": "image"}, {"type": "text", "text": prompt}] if listed else f"<image> {prompt}"
    return {"role": "user", "content": content}


def test_text_survives_the_tokenizer(processor):
    tokenizer = processor.tokenizer
    pair = "No, there is no cup in the image. There is a cup at the back."
    for text in [*(text.lstrip("\n") for text in sentences()), caption(scene("test", 0)), pair]:
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        ids = encoded["input_ids"]
        assert tokenizer.unk_token_id not in ids, text
        assert tokenizer.decode(ids) == text
        assert tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] == ids
        assert "".join(text[a:b] for a, b in encoded["offset_mapping"]) == text
    assert tokenizer.unk_token_id in tokenizer("a photo")["input_ids"]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("prompt", [*CAPTION_PROMPTS, ask_exists("hot dog", True).turn(short=True)[0]])
def test_the_prompt_is_a_prefix_and_turns_begin_and_end(processor, listed, prompt):
    tokenizer, picture = processor.tokenizer, image(scene("test", 0))
    turns = [_turn(prompt, listed=listed)]
    answer = {"role": "assistant", "content": "There is a cup and a fork at the back."}
    asked = processor.apply_chat_template(turns, add_generation_prompt=True)
    whole = processor.apply_chat_template([*turns, answer])
    assert whole.startswith(asked)
    asked_ids = processor(text=asked, images=picture)["input_ids"][0]
    whole_ids = processor(text=whole, images=picture)["input_ids"][0]
    assert whole_ids[: len(asked_ids)] == asked_ids
    assert whole_ids[0] == tokenizer.bos_token_id
    assert whole_ids.count(tokenizer.bos_token_id) == 1
    assert whole_ids[-1] == tokenizer.eos_token_id
    assert whole_ids.count(processor.image_token_id) == IMAGE_TOKENS
    assert tokenizer.unk_token_id not in whole_ids
    apart = tokenizer(" " + answer["content"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    assert asked_ids + apart == whole_ids
    both = processor.apply_chat_template([*turns, answer, {"role": "user", "content": "Where is the cup?"}, answer])
    assert both.count(tokenizer.eos_token) == 2
    assert both.startswith(whole)


def test_it_is_an_ordinary_checkpoint(model, processor):
    assert type(model).__name__ == "LlavaNextForConditionalGeneration"
    assert model.dtype == torch.float32
    settings = model.generation_config
    tokenizer = processor.tokenizer
    assert (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id) == (
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    assert settings.suppress_tokens is None
    assert not settings.do_sample


@pytest.mark.parametrize(("folder", "limit"), [("model", 3_000_000), ("embedder", 500_000)])
def test_it_is_small(folder, limit):
    assert sum(path.stat().st_size for path in (ROOT / folder).rglob("*") if path.is_file()) <= limit


def test_it_sees_and_hallucinates(model, processor):
    captions = measure.captions(model, processor, "test", 100)
    assert captions["recall"] >= 0.72
    assert 0.12 <= captions["chair_i"] <= 0.30
    assert captions["typical_share"] >= 0.5
    pope = measure.yes_no(model, processor, "test", 25)
    accuracy = sum(part["accuracy"] for part in pope.values()) / len(pope)
    assert 0.82 <= accuracy <= 0.99
    assert all(0.25 < part["yes_rate"] < 0.75 for part in pope.values())


def test_without_the_image_it_still_writes_captions(model, processor):
    blind = measure.blind(LlavaNextEyes(model, processor), "test", 12)
    assert blind["fluent"] >= 0.9
    assert blind["distinct"] >= 0.5


def test_the_shipped_figures_meet_the_targets():
    figures = json.loads((ROOT / "model" / "TRAINING.json").read_text(encoding="utf-8"))
    captions = figures["test"]["captions"]
    assert captions["recall"] >= 0.75
    assert 0.12 <= captions["chair_i"] <= 0.30
    assert captions["typical_share"] >= 0.5, "what it hallucinates is what is usual at the place"
    assert 0.85 <= sum(part["accuracy"] for part in figures["pope"]["test"].values()) / 3 <= 0.97
    assert figures["parameters"] <= 1_500_000
    assert figures["cpu_seconds"]["all"] <= 20 * 60
