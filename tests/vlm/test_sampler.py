"""How tokens are chosen: wrong settings are refused where they are made, and a model's own act only where named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mmpref.errors import UsageError
from mmpref.types import Message, ModelRef
from mmpref.vlm.branches import Branch, BranchState
from mmpref.vlm.decoding import MODEL, OFF, Decoding, generation_config_values, ignored_settings
from mmpref.vlm.encode import EncodedPrompt
from mmpref.vlm.families import find_family
from mmpref.vlm.policy import Policy
from mmpref.vlm.sampler import TokenSampler
from tests.vlm.tiny import BUILDERS


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"repetition_penalty": 0.0},
        {"temperature": float("inf")},
        {"temperature": "hot"},
        {"top_k": 1.5},
        {"top_p": True},
    ],
)
def test_wrong_settings_are_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"^{name} is .*; it must be "):
        Decoding(**wrong)


def test_the_ends_of_the_ranges_are_allowed() -> None:
    Decoding(max_new_tokens=1, greedy=False, temperature=1e-3, top_p=1.0, top_k=0, repetition_penalty=1.0)


def of(name: str, **own: Any) -> Policy:
    """A tiny random model whose generation_config says this."""
    model, processor = BUILDERS[name]()
    for setting, value in own.items():
        setattr(model.generation_config, setting, value)
    return Policy(model, processor, find_family(name, "tiny"), ModelRef("tiny"))


QWEN2_VL = {"do_sample": True, "temperature": 0.01, "top_p": 0.001, "top_k": 1, "repetition_penalty": 1.3}
"""Like what Qwen2-VL ships: its sampling is greedy."""


def first_tokens(policy: Policy, decoding: Decoding) -> set[int]:
    """What forty branches, each with a stream of its own, draw of the same logits."""
    logits = torch.randn(policy.base_model.get_output_embeddings().weight.shape[0], generator=torch.manual_seed(3))
    prompt = EncodedPrompt(*(torch.zeros(1, 1) for _ in range(4)))
    states = [BranchState(number, Branch(prompt, stream=(number,))) for number in range(40)]
    return set(TokenSampler(policy, decoding)(logits.repeat(40, 1), states).tolist())


def test_sampling_is_from_the_policy_whatever_the_model_ships() -> None:
    plain, qwen = of("llava"), of("llava", **QWEN2_VL)
    drawn = first_tokens(plain, Decoding(greedy=False))
    assert len(drawn) > 10
    assert first_tokens(qwen, Decoding(greedy=False)) == drawn
    for name in ("temperature", "top_p", "top_k"):
        named: dict[str, Any] = {name: MODEL}
        assert len(first_tokens(qwen, Decoding(greedy=False, **named))) == 1
        assert first_tokens(plain, Decoding(greedy=False, **named)) == drawn


def test_what_the_model_says_is_taken_where_it_is_asked_for() -> None:
    asked = Decoding(7, False, MODEL, MODEL, MODEL, MODEL, seed=5)
    assert asked.resolved(generation_config_values(of("llava").base_model.generation_config)) == Decoding(
        7, False, seed=5
    )
    found = asked.resolved(generation_config_values(of("llava", **QWEN2_VL).base_model.generation_config))
    assert found == Decoding(7, False, 0.01, 0.001, 1, 1.3, seed=5)
    assert found.facts() == {"greedy": False, **{name: QWEN2_VL[name] for name in OFF}}
    greedy = Decoding(7, repetition_penalty=MODEL).resolved(
        generation_config_values(of("llava", **QWEN2_VL).base_model.generation_config)
    )
    assert greedy.facts() == {"greedy": True, "repetition_penalty": 1.3}


def test_a_model_whose_own_temperature_draws_nothing_can_be_given_one() -> None:
    policy = of("llava", temperature=0.0)
    TokenSampler(policy, Decoding(greedy=True, temperature=MODEL))
    TokenSampler(policy, Decoding(greedy=False, temperature=0.7))
    with pytest.raises(UsageError, match=r"^temperature of the model's generation_config is 0\.0; it must be above 0"):
        TokenSampler(policy, Decoding(greedy=False, temperature=MODEL))


def test_a_bad_word_of_one_token_is_never_written_and_what_is_not_heeded_is_named() -> None:
    policy = of("llava", bad_words_ids=[[7], [8, 9]], suppress_tokens=[11], no_repeat_ngram_size=2, min_p=0.1, top_k=1)
    assert {7, 11, policy.image_token_id} <= policy.suppressed_ids
    assert not {8, 9} & policy.suppressed_ids
    assert ignored_settings(policy.base_model.generation_config) == [
        "no_repeat_ngram_size",
        "min_p",
        "bad_words_ids of several tokens",
    ]
    assert ignored_settings(of("llava", **QWEN2_VL).base_model.generation_config) == []
    eos = next(iter(policy.eos_ids))
    assert eos not in of("llava", bad_words_ids=[[eos]]).suppressed_ids


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "smolvlm"])
def test_a_repetition_penalty_is_transformers_own(name: str) -> None:
    """It counts the prompt's words too; with the model's own setting, or the caller's."""
    from PIL import Image

    from mmpref.vlm.generate import Request, generate
    from tests.vlm.tiny import tiny

    policy = tiny(name)
    prompt = [Message("user", "describe the picture . w1 w2 w3 w4")]
    # Pillow's own noise has no seed, and the last assertion is about this picture.
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    inputs = policy.prompter.prepare(prompt, [picture])
    whole = policy.base_model.generate(
        **inputs,
        max_new_tokens=10,
        do_sample=False,
        repetition_penalty=4.0,
        suppress_tokens=sorted(policy.suppressed_ids),
    )[0, inputs["input_ids"].shape[1] :]
    expected = policy.tokenizer.decode(whole, skip_special_tokens=True).strip()
    request = [Request(tuple(prompt), (picture,))]
    assert generate(policy, request, Decoding(10, repetition_penalty=4.0)) == [expected]
    policy.base_model.generation_config.repetition_penalty = 4.0
    assert generate(policy, request, Decoding(10, repetition_penalty=MODEL)) == [expected]
    assert generate(policy, request, Decoding(10)) != [expected]
