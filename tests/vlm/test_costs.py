"""Memory and time out of sizes: against models that are built, and against the engine's own count."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, CLIPVisionConfig, LlamaConfig, LlavaNextConfig

from mmpref.registry import resolve_path
from mmpref.vlm import costs
from mmpref.vlm.devices import devices
from mmpref.vlm.families import find_family

TESTBED = resolve_path("pkg:mmpref.testbed/model")


def llava(**text: int) -> LlavaNextConfig:
    tower = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    return LlavaNextConfig(vision_config=tower, text_config=LlamaConfig(**text))


@pytest.fixture(scope="module")
def seven_billion() -> costs.Sizes:
    config = llava(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, vocab_size=32064)
    return costs.sizes_of(config, find_family("llava_next", "a test"))


def test_sizes_are_those_of_the_loaded_model() -> None:
    model = AutoModelForImageTextToText.from_pretrained(TESTBED)
    sizes = costs.sizes_of(AutoConfig.from_pretrained(TESTBED), find_family("llava_next", "a test"), rank=4)
    assert sizes.parameters == model.num_parameters()
    assert sizes.decoder == sum(parameter.numel() for parameter in model.get_decoder().parameters())
    ids = torch.ones(1, 7, dtype=torch.long)
    cache = model.get_decoder()(input_ids=ids, use_cache=True).past_key_values
    assert sizes.cached * 7 == sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    from peft import LoraConfig, get_peft_model

    linear = [name for name, module in model.get_decoder().named_modules() if isinstance(module, torch.nn.Linear)]
    lora = get_peft_model(model.get_decoder(), LoraConfig(r=4, target_modules=linear))
    adapter = sum(parameter.numel() for parameter in lora.parameters() if parameter.requires_grad)
    assert sizes.trained == adapter + sum(p.numel() for p in model.model.multi_modal_projector.parameters())


def test_a_model_of_seven_billion(seven_billion: costs.Sizes) -> None:
    sizes = seven_billion
    assert sizes.parameters == pytest.approx(7.06e9, rel=0.01)
    assert 2 * sizes.cached == 2 * 32 * 4096 * 2, "bytes of keys and values a token, in bf16"
    weights = 2 * sizes.parameters
    assert costs.build_bytes(sizes) == weights + 256 * 176 * 2 * sizes.cached
    assert weights < costs.evaluate_bytes(sizes) < costs.MEMORY
    assert weights < costs.train_bytes(sizes) < costs.MEMORY
    saved = costs.train_bytes(sizes) - costs.train_bytes(sizes, quantized=True)
    assert saved == pytest.approx((2 - 0.52) * (sizes.decoder - 32064 * 4096))


def test_time_goes_with_size_tokens_and_speed() -> None:
    assert costs.forward_hours(7e9) == 2 * 7e9 * 3000 / (800e12 * 0.4) / 3600
    assert costs.forward_hours(7e9, tokens=600, peak=400e12) == pytest.approx(costs.forward_hours(7e9) * 0.2 * 2)
    assert costs.pair_hours(7e9) == 4 * costs.forward_hours(7e9)
    assert costs.bdhs_hours(14e9, peak=400e12) == pytest.approx(4 * costs.bdhs_hours(7e9))
    assert costs.bdhs_hours(7e9) < costs.forward_hours(7e9), "nearly all image tokens are hidden"
    assert math.isnan(costs.forward_hours(math.nan))


def test_the_devices_here_are_measured() -> None:
    for device in devices():
        assert 0 < device.free <= device.memory
        assert 1e9 < device.peak < 1e16
        assert device.width == (4 if device.place == "cpu" else 2)
