"""The probe that decides about families which nobody has tried: it passes what works and refuses what leaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmpref.errors import ModelError
from mmpref.types import ModelRef
from mmpref.vlm.families import find_family, refusal
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from mmpref.vlm.verify import TOLERANCE, verify_family
from tests.vlm.tiny import parts, tiny


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl", "qwen3_vl", "gemma3", "paligemma2", "mistral3_sliding"])
def test_what_works_passes(name):
    found = verify_family(tiny(name))
    assert all(value <= TOLERANCE for value in found.values())


def _untried(name: str) -> Policy:
    model, processor = parts(name)
    family = replace(find_family("llava", "x"), model_type=name, tested=False)
    return Policy(model, processor, family, ModelRef(name))


@pytest.mark.parametrize("name", ["lfm2_vl", "qwen3_5", "granite4_vision"])
def test_what_leaks_is_refused(name):
    with pytest.raises(ModelError, match=r"cannot be used|also given"):
        verify_family(_untried(name))


def test_the_reason_names_the_layers():
    with pytest.raises(ModelError, match="linear-attention"):
        verify_family(_untried("qwen3_5"))
    assert refusal(["full_attention", "sliding_attention"]) is None


def test_a_decoder_that_sees_past_the_mask_is_refused():
    """The probe measures: a layer that mixes neighbours whatever the mask says."""
    policy = tiny("llava")
    layer = policy.decoder.layers[0]

    def mix(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        return hidden + 0.1 * torch.nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]

    layer.register_forward_hook(mix)
    with pytest.raises(ModelError, match="dropping its image tokens is not masking them"):
        verify_family(policy)


def test_precision_is_given_back(tmp_path):
    """Of the rotary frequencies too, which stay in fp32 in a model that is loaded in bf16 and are in no state dict."""
    model, processor = parts("llava")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    policy = load_policy(ModelRef(str(tmp_path)), dtype="bfloat16")

    def tensors():
        return {**dict(policy.base_model.named_parameters()), **dict(policy.base_model.named_buffers())}

    before = {name: (value.dtype, value.clone()) for name, value in tensors().items()}
    assert {dtype for dtype, _ in before.values() if dtype.is_floating_point} == {torch.bfloat16, torch.float32}
    verify_family(policy)
    assert policy.dtype == torch.bfloat16
    for name, value in tensors().items():
        assert value.dtype == before[name][0], name
        assert torch.equal(value, before[name][1]), name


def test_the_decoders_that_need_no_probe_are_those_that_tests_run():
    from mmpref.vlm.families import DECODERS
    from tests.vlm.tiny import BUILDERS

    assert {parts(name)[0].config.get_text_config().model_type for name in BUILDERS} == DECODERS


def with_decoder(tmp_path, text):
    """The tiny LLaVA with another language model in it, saved."""
    import transformers as hf

    model, processor = parts("llava")
    config = hf.LlavaConfig(
        vision_config=model.config.vision_config,
        text_config=text,
        image_token_index=model.config.image_token_index,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        vision_feature_layer=model.config.vision_feature_layer,
        image_seq_length=model.config.image_seq_length,
    )
    torch.manual_seed(0)
    hf.LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return ModelRef(str(tmp_path))


def test_another_decoder_in_a_known_family_is_probed(tmp_path):
    import transformers as hf

    size = len(parts("llava")[1].tokenizer)
    common = {
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    assert load_policy(with_decoder(tmp_path / "olmo", hf.Olmo2Config(**common))).verification is not None
    lfm = hf.Lfm2Config(**common, layer_types=["conv", "full_attention"])
    with pytest.raises(ModelError, match="conv"):
        load_policy(with_decoder(tmp_path / "lfm", lfm))


def test_an_untried_model_is_probed_when_it_is_loaded(tmp_path, monkeypatch):
    from mmpref.vlm import families

    model, processor = parts("llava_next")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert load_policy(ModelRef(str(tmp_path))).verification is None
    monkeypatch.setattr(families, "FAMILIES", ())
    policy = load_policy(ModelRef(str(tmp_path)))
    assert policy.verification is not None
    assert policy.verification["half"] <= TOLERANCE
    assert policy.family.describe()["tested"] == "probed when loaded"
