"""Noise on preprocessed images: of the right strength, and the same on every copy of a pixel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmpref.errors import ModelError
from mmpref.types import Message
from mmpref.vlm.encode import encode
from mmpref.vlm.noise import add_noise, diffuse
from tests.vlm.tiny import BUILDERS, tiny

STEPS = 500
SIGNAL = 0.863
"""Square root of the share of the signal that is left after 500 of 1000 steps."""


def pictures() -> list[Image.Image]:
    draws = np.random.default_rng(0)
    return [Image.fromarray(draws.integers(0, 256, size, dtype=np.uint8)) for size in ((60, 90, 3), (40, 24, 3))]


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


@pytest.mark.parametrize("name", [name for name in BUILDERS if name.startswith(("qwen", "glm"))])
def test_both_frames_of_a_still_image_have_the_same_noise(name: str) -> None:
    policy = tiny(name)
    pixels = policy.prompter.prepare([Message("user", "describe the pictures .")], pictures())["pixel_values"]
    seen = add_noise(pixels, STEPS, np.random.default_rng(1), policy.processor)
    noise = (seen - SIGNAL * pixels) / (1 - SIGNAL**2) ** 0.5
    size = policy.processor.image_processor.patch_size
    frames = noise.reshape(len(pixels), 3, 2, size, size)
    assert torch.allclose(frames[:, :, 0], frames[:, :, 1], atol=1e-5)
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.03)
    assert abs(correlation(frames[:, 0, 0], frames[:, 1, 0])) < 0.1, "channels have their own"
    assert abs(correlation(frames[:56, :, 0], frames[56:112, :, 0])) < 0.1, "patches too"
    # What the model sees of a picture is the noise at its full strength: the mean of both frames has it.
    assert float(frames.mean(2).std()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", ["llava", "llava_next", "smolvlm", "internvl", "paddleocr_vl", "video_llama_3"])
def test_images_of_one_frame_have_plain_noise(name: str) -> None:
    policy = tiny(name)
    pixels = policy.prompter.prepare([Message("user", "describe the picture .")], pictures()[:1])["pixel_values"]
    seen = add_noise(pixels, STEPS, np.random.default_rng(1), policy.processor)
    assert torch.equal(seen, diffuse(pixels, STEPS, np.random.default_rng(1)))


def test_pixels_that_the_model_itself_normalises_have_the_noise_that_its_tower_sees() -> None:
    """Gemma 4 takes values of 0 to 1 and makes them -1 to 1: noise put on the former would be twice as strong."""
    policy = tiny("gemma4")
    inputs = policy.prompter.prepare([Message("user", "describe the picture .")], pictures()[:1])
    given: list[torch.Tensor] = []
    policy.base_model.model.vision_tower.patch_embedder.input_proj.register_forward_pre_hook(
        lambda _, args: given.append(args[0])
    )
    encode(policy, [inputs])
    encode(policy, [inputs], (STEPS, [np.random.default_rng(1)]))
    clean, noisy = given
    assert float(clean.min()) == -1
    assert float(clean.max()) > 0.9
    assert torch.allclose(noisy, diffuse(clean, STEPS, np.random.default_rng(1)), atol=1e-5)


def test_pixels_of_an_unknown_range_are_refused() -> None:
    processor = SimpleNamespace(image_processor=SimpleNamespace(do_normalize=False, do_rescale=False))
    with pytest.raises(ModelError, match="neither scales nor normalises"):
        add_noise(torch.ones(1, 3, 4, 4), STEPS, np.random.default_rng(1), processor)


@pytest.mark.parametrize("name", ["qwen2_vl", "gemma4"])
def test_no_noise_is_no_noise(name: str) -> None:
    policy = tiny(name)
    inputs = policy.prompter.prepare([Message("user", "describe the picture .")], pictures()[:1])
    seen, clean = (encode(policy, [inputs], noise)[0] for noise in ((0, [np.random.default_rng(1)]), None))
    assert torch.equal(seen.embeds, clean.embeds)
    seen = encode(policy, [inputs], (STEPS, [np.random.default_rng(1)]))[0]
    assert not torch.equal(seen.embeds, clean.embeds)


@pytest.mark.parametrize("shape", [(6, 97), (6, 2, 48)])
def test_frames_in_another_order_are_refused(shape: tuple[int, ...]) -> None:
    processor = SimpleNamespace(image_processor=SimpleNamespace(temporal_patch_size=2, patch_size=4))
    with pytest.raises(ModelError, match="2 frames"):
        add_noise(torch.ones(shape), STEPS, np.random.default_rng(1), processor)
    frames_first = torch.randn(6, 1, 3, 4, 4).expand(6, 2, 3, 4, 4).reshape(6, 96)
    with pytest.raises(ModelError, match="the same noise"):
        add_noise(frames_first, STEPS, np.random.default_rng(1), processor)
