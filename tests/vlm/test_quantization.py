"""Quantized by bitsandbytes itself: which layers are, that they compute what they should, and let gradients through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from transformers.integrations.bitsandbytes import dequantize_bnb_weight
from transformers.quantizers.quantizers_utils import should_convert_module

from mmpref.errors import ModelError
from mmpref.types import Message, ModelRef
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import Request, generate
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from mmpref.vlm.quantization import unquantized_modules
from mmpref.vlm.shared_prefix_forward import SharedForward
from mmpref.vlm.verify import verify_family
from tests.vlm.test_shared_prefix_forward import batch_of
from tests.vlm.test_tiny import QUESTIONS, inputs_of, picture
from tests.vlm.tiny import BUILDERS, in_blocks, tiny

LAYERS = {"4bit": bnb.nn.Linear4bit, "8bit": bnb.nn.Linear8bitLt}
EACH = pytest.mark.parametrize("quantization", LAYERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return in_blocks(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=LAYERS)
def loaded(folder: str, request: pytest.FixtureRequest) -> tuple[Policy, str]:
    return load_policy(ModelRef(folder), quantization=request.param), request.param


def linear(model: Any) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


@pytest.mark.parametrize("name", BUILDERS)
def test_every_family_keeps_all_but_its_language_model_in_full(name: str) -> None:
    policy = tiny(name)
    model, decoder = policy.base_model, set(policy.decoder.modules())
    inside = {path for path in linear(model) if model.get_submodule(path) in decoder}
    kept = unquantized_modules(model, policy.family.projector)
    assert inside == {path for path in linear(model) if should_convert_module(path, kept)}
    assert inside


def test_what_is_quantized(loaded: tuple[Policy, str]) -> None:
    policy, quantization = loaded
    quantized = {name for name, module in policy.base_model.named_modules() if isinstance(module, LAYERS[quantization])}
    assert quantized == {name for name in linear(policy.base_model) if name.startswith("model.language_model.")}
    assert len(quantized) == 14
    assert policy.dtype == torch.float32
    assert policy.device == torch.device("cpu")
    assert policy.placement.quantization == quantization


def test_four_bits_are_nf4_with_quantized_scales_in_the_models_precision(folder: str) -> None:
    policy = load_policy(ModelRef(folder), quantization="4bit", dtype="bfloat16")
    assert policy.dtype == torch.bfloat16
    layers = [module for module in policy.base_model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    states = [layer.weight.quant_state for layer in layers]
    assert {(state.quant_type, state.nested) for state in states} == {("nf4", True)}
    assert {layer.compute_dtype for layer in layers} == {torch.bfloat16}


def rounded(policy: Policy) -> Policy:
    """The same model in full, with the values that the quantized weights stand for."""
    full = load_policy(policy.ref)
    for name, module in policy.base_model.named_modules():
        if isinstance(module, tuple(LAYERS.values())):
            weight = dequantize_bnb_weight(module.weight, getattr(module, "state", None))
            full.base_model.get_submodule(name).weight.data = weight.float()
    return full


def test_the_logits_are_those_of_the_rounded_weights(folder: str) -> None:
    policy = load_policy(ModelRef(folder), quantization="4bit")
    inputs = inputs_of(policy, [picture()])
    with torch.inference_mode():
        torch.testing.assert_close(
            policy.model(**inputs).logits, rounded(policy).model(**inputs).logits, atol=1e-4, rtol=0
        )


def test_answers_and_what_the_engine_shares(loaded: tuple[Policy, str]) -> None:
    policy, quantization = loaded
    requests = [Request(question, (picture(seed),)) for seed, question in enumerate(QUESTIONS)]
    answers = generate(policy, requests, Decoding(8))
    assert len(set(answers)) == 2
    # In 8 bits, what is large anywhere in a batch is computed in more bits in all of it.
    assert quantization == "8bit" or answers == generate(policy, requests, Decoding(8), batch_size=1)
    found = verify_family(policy)
    assert max(found[name] for name in ("own", "half", "none", "leak")) <= (1e-4 if quantization == "4bit" else 5e-2)
    assert SharedForward(policy).refusal(batch_of(policy)) is None


def test_gradients_go_through_after_an_answer(loaded: tuple[Policy, str]) -> None:
    policy, _ = loaded
    generate(policy, [Request((Message("user", "describe"),), (picture(),))], Decoding(2))
    gradients = []
    for one in (policy, rounded(policy)):
        embeds = policy.embed(torch.arange(5, 20)[None]).detach().requires_grad_()
        one.model.train()
        one.decoder(inputs_embeds=embeds).last_hidden_state[..., :8].sum().backward()
        one.model.eval()
        assert embeds.grad is not None
        gradients.append(embeds.grad)
    assert gradients[0].abs().max() > 1e-2
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


@EACH
def test_a_map_of_devices(folder: str, quantization: str) -> None:
    assert load_policy(ModelRef(folder), quantization=quantization, device_map="auto").device.type == "cpu"


@EACH
def test_a_checkpoint_that_is_quantized_already(folder: str, quantization: str, tmp_path: Path) -> None:
    policy = load_policy(ModelRef(folder), quantization=quantization)
    policy.base_model.save_pretrained(tmp_path)
    policy.processor.save_pretrained(tmp_path)
    again = load_policy(ModelRef(str(tmp_path)))
    assert any(isinstance(module, LAYERS[quantization]) for module in again.base_model.modules())
    inputs = inputs_of(policy, [picture()])
    with torch.inference_mode():
        assert torch.equal(policy.model(**inputs).logits, again.model(**inputs).logits)


def test_layers_that_the_kernel_would_get_wrong_are_refused() -> None:
    with pytest.raises(ModelError, match=r"have 96, 288 inputs.*multiples of 64 only.*quantization=8bit"):
        load_policy(ModelRef("pkg:mmpref.testbed/model"), quantization="4bit")


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="a kernel for AVX-512 is wrong")
def test_the_kernel_is_wrong_there() -> None:
    """When this fails, bitsandbytes has mended it, and the refusal can go."""
    weight = torch.randn(32, 96, generator=torch.Generator().manual_seed(0))
    packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4")
    assert (bnb.functional.dequantize_4bit(packed, state) - weight).abs().max() > 1
