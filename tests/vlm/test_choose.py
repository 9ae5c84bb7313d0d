"""Settings that no text can be written with are refused where they are made."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.errors import UsageError
from mmpref.types import Message, ModelRef
from mmpref.vlm.choose import Chooser, Decoding
from mmpref.vlm.families import find_family
from mmpref.vlm.policy import Policy
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
    ],
)
def test_wrong_settings_are_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"^{name} is .*; it must be "):
        Decoding(**wrong)


def test_the_ends_of_the_ranges_are_allowed() -> None:
    Decoding(max_new_tokens=1, greedy=False, temperature=1e-3, top_p=1.0, top_k=0, repetition_penalty=1.0)


def test_a_model_whose_own_temperature_draws_nothing_can_be_given_one() -> None:
    model, processor = BUILDERS["llava"]()
    model.generation_config.temperature = 0.0
    policy = Policy(model, processor, find_family("llava", "tiny"), ModelRef("tiny"))
    Chooser(policy, Decoding(greedy=True))
    Chooser(policy, Decoding(greedy=False, temperature=0.7))
    with pytest.raises(UsageError, match=r"temperature 0\.0"):
        Chooser(policy, Decoding(greedy=False))


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "smolvlm"])
def test_a_repetition_penalty_is_transformers_own(name: str) -> None:
    """It counts the prompt's words too; with the model's own setting, or the caller's."""
    from PIL import Image

    from mmpref.vlm.policy import Request
    from tests.vlm.tiny import tiny

    policy = tiny(name)
    prompt, picture = (
        [Message("user", "describe the picture . w1 w2 w3 w4")],
        Image.effect_noise((40, 24), 60).convert("RGB"),
    )
    inputs = policy.prompter.prepare(prompt, [picture])
    whole = policy.base_model.generate(
        **inputs,
        max_new_tokens=10,
        do_sample=False,
        repetition_penalty=1.5,
        suppress_tokens=sorted(policy.never_written),
    )[0, inputs["input_ids"].shape[1] :]
    expected = policy.tokenizer.decode(whole, skip_special_tokens=True).strip()
    request = [Request(tuple(prompt), (picture,))]
    assert policy.generate(request, Decoding(10, repetition_penalty=1.5)) == [expected]
    policy.base_model.generation_config.repetition_penalty = 1.5
    assert policy.generate(request, Decoding(10)) == [expected]
    assert policy.generate(request, Decoding(10, repetition_penalty=1.0)) != [expected]
