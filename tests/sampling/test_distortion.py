"""Distorted answers against the naive way: transformers' own forward of the noisy image and the chosen answer."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mmpref.images import decode
from mmpref.rng import stream
from mmpref.sampling.distortion import Distortion, _add_pixel_noise
from mmpref.types import Example, ImageData, Message
from mmpref.vlm.noise import add_noise
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import tiny

ANSWERS = ("w1 w2 w3 w4 .", "w5 w6 .", "w7 w8 w9 w10 w11 w12 w13 .")


def examples() -> list[Example]:
    made = []
    for number, answer in enumerate(ANSWERS):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 40, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        prompt = (Message("user", "describe the picture ." + " w3" * number),)
        made.append(Example(f"e{number}", (ImageData(buffer.getvalue()),), prompt, answer, ""))
    return made


@torch.inference_mode()
def naive(policy: Policy, example: Example, steps: int, seed: int) -> str:
    """One full forward of the model itself, no engine: logits at each place of the chosen answer, seeing noise."""
    text = policy.render(example.prompt, 1)
    images = [decode(image) for image in example.images]
    inputs = dict(policy.processor(text=[text], images=[images], return_tensors="pt", add_special_tokens=False))
    inputs["pixel_values"] = add_noise(
        inputs["pixel_values"], steps, stream(seed, example.id, 1, "noise"), policy.processor
    )
    whole = policy.render_answer(example.prompt, 1, example.answer)
    before = whole[: whole.index(example.answer)]
    written = len(policy.tokenizer(before, add_special_tokens=False)["input_ids"])
    ids = policy.tokenizer(before + example.answer, add_special_tokens=False, return_tensors="pt")["input_ids"]
    length = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.zeros_like(ids)], 1)
    logits = policy.model(**inputs, use_cache=False).logits[0, length - 1 + written : -1].float()
    logits[:, sorted({*policy.suppressed_ids, *policy.eos_ids})] = -torch.inf
    return str(policy.tokenizer.decode(logits.argmax(-1).tolist(), skip_special_tokens=True)).strip()


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl", "smolvlm", "internvl", "gemma3", "qwen3_vl"])
def test_one_forward_of_a_batch_is_the_naive_way(name: str) -> None:
    policy = tiny(name)
    made = Distortion(policy, 500, "tensor", seed=4)(examples())
    assert made == [naive(policy, example, 500, 4) for example in examples()]
    assert len(set(made)) == len(made)


def test_what_the_prompt_format_writes_before_an_answer_is_not_distorted() -> None:
    """As templates of models that think aloud write an empty block of reasoning."""
    policy = tiny("llava_next")
    opened, template = "'ASSISTANT' }}: ", policy.processor.chat_template
    policy.processor.chat_template = template.replace(
        opened, opened + "{% if message.role == 'assistant' %}w20 w21 {% endif %}"
    )
    assert policy.render_answer(examples()[0].prompt, 1, ANSWERS[0]).startswith(f"w20 w21 {ANSWERS[0]}")
    made = Distortion(policy, 500, "tensor", seed=4)(examples())
    assert [len(text.split()) for text in made] == [len(answer.split()) for answer in ANSWERS]
    assert made == [naive(policy, example, 500, 4) for example in examples()]


def test_a_distorted_answer_is_as_long_as_the_chosen_one_and_depends_on_the_noise() -> None:
    policy = tiny("llava_next")
    made = {steps: Distortion(policy, steps, "tensor", seed=4)(examples()) for steps in (0, 1000)}
    for text, example in zip(made[1000], examples(), strict=True):
        assert len(policy.tokenizer(text, add_special_tokens=False)["input_ids"]) == len(example.answer.split())
    assert made[0] != made[1000]


def test_pixel_noise_wraps_as_povids_code_does() -> None:
    """torchvision's ToPILImage multiplies by 255 and takes the byte: -0.1 becomes 231 and 1.2 becomes 50."""
    values = torch.tensor([-0.1, 1.2, 0.5])
    assert values.mul(255).to(torch.int64).remainder(256).tolist() == [231, 50, 127]
    image = examples()[0].images[0]
    same = decode(_add_pixel_noise(image, 0, stream(0)))
    assert np.array_equal(np.asarray(same), np.asarray(decode(image)))
    add_noise = np.asarray(decode(_add_pixel_noise(image, 500, stream(0)))).astype(int)
    assert add_noise.shape == (24, 40, 3)
    assert np.abs(add_noise - np.asarray(same).astype(int)).mean() > 40


def test_pixel_noise_is_seen() -> None:
    policy = tiny("llava_next")
    made = [Distortion(policy, 500, "pixel", seed=seed)(examples()) for seed in (4, 4, 5)]
    assert made[0] == made[1] != made[2]
