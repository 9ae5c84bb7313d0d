"""The probe that decides about families which nobody has tried: it passes what works and refuses what leaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmpref.errors import ModelError
from mmpref.types import ModelRef
from mmpref.vlm.families import find_family, refusal
from mmpref.vlm.policy import Policy
from mmpref.vlm.probe import TOLERANCE, probe
from tests.vlm.tiny import parts, tiny


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl", "qwen3_vl", "gemma3", "paligemma2", "mistral3_sliding"])
def test_what_works_passes(name):
    found = probe(tiny(name))
    assert all(value <= TOLERANCE for value in found.values())


def _untried(name: str) -> Policy:
    model, processor = parts(name)
    family = replace(find_family("llava", "x"), model_type=name, tested=False)
    return Policy(model, processor, family, ModelRef(name))


@pytest.mark.parametrize("name", ["lfm2_vl", "qwen3_5", "granite4_vision"])
def test_what_leaks_is_refused(name):
    with pytest.raises(ModelError, match=r"cannot be used|also given"):
        probe(_untried(name))


def test_the_reason_names_the_layers():
    with pytest.raises(ModelError, match="linear-attention"):
        probe(_untried("qwen3_5"))
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
        probe(policy)


def test_precision_is_given_back():
    policy = tiny("llava")
    policy.base_model.to(torch.bfloat16)
    before = {name: value.clone() for name, value in policy.base_model.state_dict().items()}
    probe(policy)
    assert policy.dtype == torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in policy.base_model.state_dict().items())


def test_an_untried_model_is_probed_when_it_is_loaded(tmp_path, monkeypatch):
    from mmpref.vlm import families

    model, processor = parts("llava_next")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert Policy.load(ModelRef(str(tmp_path))).proof is None
    monkeypatch.setattr(families, "FAMILIES", ())
    policy = Policy.load(ModelRef(str(tmp_path)))
    assert policy.proof is not None
    assert policy.proof["half"] <= TOLERANCE
    assert policy.family.describe()["tested"] == "probed when loaded"
