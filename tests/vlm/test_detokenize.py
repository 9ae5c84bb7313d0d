"""Texts keep the markers of reasoning, special tokens or not, and have the one that a prompt opens."""

from __future__ import annotations

from mmpref.vlm.detokenize import Detokenizer
from tests.vlm.tiny import tiny


def test_markers_that_are_special_tokens_stay() -> None:
    policy = tiny("llava")
    tokenizer = policy.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    ids = tokenizer("[THINK]w5[/THINK]w7", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    dropped = Detokenizer(policy, ())(ids)
    assert "THINK" not in dropped, "without its markers reasoning could not be told from the answer"
    kept = Detokenizer(policy)(ids)
    assert kept.startswith("[THINK]")
    assert kept.endswith("w7"), "other special tokens are dropped all the same"
    assert Detokenizer(policy)(ids[1:2]) == Detokenizer(policy, ())(ids[1:2])
    assert Detokenizer(policy, (("w5", "w7"),))(ids) == dropped


def test_the_marker_that_a_prompt_opens_stands_before_a_text() -> None:
    policy = tiny("llava")
    ids = policy.tokenizer("w5", add_special_tokens=False)["input_ids"]
    plain = Detokenizer(policy)(ids)
    policy.processor.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}"
    assert Detokenizer(policy)(ids) == "<think>" + plain
    assert Detokenizer(policy, ())(ids) == plain
