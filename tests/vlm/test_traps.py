"""Traps of dropping image tokens, each with what would go wrong (the families' own are in test_families.py)."""

from __future__ import annotations

import pytest
import torch

from mmpref.errors import UsageError
from mmpref.types import Message
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.generate import decode
from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_pool import SharedPrefixPool
from tests.vlm.test_families import MESSAGES, half_kept, picture
from tests.vlm.tiny import tiny


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny("llava_next")


@pytest.fixture(scope="module")
def whole(policy: Policy) -> EncodedPrompt:
    return encode(policy, [policy.prompter.prepare(MESSAGES, [picture()])])[0]


@torch.inference_mode()
def generated(policy: Policy, whole: EncodedPrompt, kept: torch.Tensor, *, positions: bool) -> list[int]:
    """`generate` on the whole sequence with hidden tokens zero in a 2-D mask."""
    mask = torch.ones(1, len(whole.embeds), dtype=torch.long)
    mask[0, whole.is_image] = kept.long()
    given = {"position_ids": whole.positions} if positions else {}
    return policy.model.generate(
        inputs_embeds=whole.embeds[None],
        attention_mask=mask,
        max_new_tokens=8,
        do_sample=False,
        suppress_tokens=sorted(policy.suppressed_ids),
        **given,
    )[0].tolist()


def test_generate_renumbers_positions_under_a_mask_unless_it_is_told(policy: Policy, whole: EncodedPrompt) -> None:
    """A literal reading of masking is `positions=compact`; the default keeps positions."""
    literal, told = set(), set()
    for seed in range(4):
        kept = half_kept(whole, seed)
        original, compact = (
            decode(policy, [Branch(whole.drop(kept, positions))], Decoding(8))[0]
            for positions in ("original", "compact")
        )
        theirs = [generated(policy, whole, kept, positions=positions) for positions in (True, False)]
        assert original == [token for token in theirs[0] if token not in policy.eos_ids]
        assert compact == [token for token in theirs[1] if token not in policy.eos_ids]
        literal.add(tuple(compact))
        told.add(tuple(original))
    assert literal != told


@torch.inference_mode()
def test_positions_with_gaps_and_no_mask_are_read_as_packed_sequences(policy: Policy, whole: EncodedPrompt) -> None:
    dropped = whole.drop(half_kept(whole), "original")
    given = {"inputs_embeds": dropped.embeds[None], "position_ids": dropped.positions, "use_cache": False}
    right = policy.decoder(**given, attention_mask=torch.ones(1, len(dropped.embeds))).last_hidden_state
    wrong = policy.decoder(**given, attention_mask=None).last_hidden_state
    assert (right - wrong).abs().max() > 0.1
    pool = SharedPrefixPool(policy, Decoding(1))
    pool.add([Branch(dropped)])
    seen = []
    hook = policy.decoder.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(given["attention_mask"]), with_kwargs=True
    )
    try:
        list(pool)
    finally:
        hook.remove()
    assert all(mask is not None for mask in seen)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "glm4v"])
def test_rope_state_of_another_prompt_does_not_leak(name: str) -> None:
    """Qwen-VL models keep the offset of the last prompt's positions on the model."""
    policy = tiny(name)
    first = encode(policy, [policy.prompter.prepare(MESSAGES, [picture()])])[0]
    expected = decode(policy, [Branch(first)], Decoding(6))
    other = (Message("user", "w1 w2 w3 w4 w5 w6"),)
    encode(policy, [policy.prompter.prepare(other, [picture(1, 96, 64), picture(2, 96, 96)])])[0]
    assert decode(policy, [Branch(first)], Decoding(6)) == expected


def test_compact_positions_have_no_meaning_under_m_rope() -> None:
    policy = tiny("qwen2_vl")
    whole = encode(policy, [policy.prompter.prepare(MESSAGES, [picture()])])[0]
    with pytest.raises(UsageError, match="M-RoPE"):
        whole.drop(half_kept(whole), "compact")


def test_row_newlines_of_llava_next_are_image_tokens(policy: Policy, whole: EncodedPrompt) -> None:
    newline = policy.base_model.model.image_newline
    rows = [index for index, row in enumerate(whole.embeds) if torch.equal(row, newline)]
    assert rows
    assert whole.is_image[rows].all()
    assert not torch.isin(
        torch.tensor(rows), whole.drop(torch.zeros(whole.image_tokens).bool(), "original").order
    ).any()


def test_tokens_do_not_depend_on_the_width_of_the_pool(policy: Policy) -> None:
    base = len(policy.tokenizer) - 40
    branches = []
    for seed in range(4):
        whole = encode(policy, [policy.prompter.prepare(MESSAGES, [picture(seed, 24 + 8 * seed, 40)])])[0]
        dropped = whole.drop(half_kept(whole, seed), "original")
        prefix = tuple(range(base, base + 9))
        branches += [Branch(dropped, prefix[: 3 * number], (seed, number)) for number in range(4)]
    for decoding in (Decoding(12), Decoding(12, greedy=False, seed=1), Decoding(7, repetition_penalty=1.3)):
        alone = [decode(policy, [branch], decoding)[0] for branch in branches]
        for width in (1, 2, 3, 5, 64):
            pool = SharedPrefixPool(policy, decoding, width)
            pool.add(branches)
            assert [tokens for _, tokens in sorted(pool)] == alone, width


def test_a_pool_takes_more_while_it_works(policy: Policy, whole: EncodedPrompt) -> None:
    dropped = whole.drop(half_kept(whole), "original")
    branches = [Branch(dropped, (20 + number,), (number,)) for number in range(6)]
    expected = decode(policy, branches, Decoding(5, greedy=False))
    pool = SharedPrefixPool(policy, Decoding(5, greedy=False), 2)
    numbers = list(pool.add(branches[:2]))
    found = {}
    for number, tokens in pool:
        found[number] = tokens
        if len(numbers) < len(branches):
            numbers += pool.add([branches[len(numbers)]])
    assert [found[number] for number in numbers] == expected
    assert pool.finished


def test_long_contexts_get_fewer_rows(policy: Policy, whole: EncodedPrompt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's memory is planned by tokens, 512 a row: also that of branches of one context, which are copies."""
    from mmpref.vlm import shared_prefix_pool as module

    monkeypatch.setattr(module, "ROWS", 8)
    monkeypatch.setattr(module, "ROW_SLOTS", (4 * len(whole.embeds) + 20) // 8)
    rows = []
    hook = policy.decoder.register_forward_pre_hook(
        lambda _module, _args, given: rows.append(given["inputs_embeds"].shape), with_kwargs=True
    )
    other = encode(policy, [policy.prompter.prepare(MESSAGES, [picture(1)])])[0]
    rows.clear()
    try:
        decode(policy, [Branch(whole, (20 + number,)) for number in range(8)], Decoding(3), width=8)
        decode(policy, [Branch(context) for context in (whole, other) * 4], Decoding(3), width=8)
    finally:
        hook.remove()
    assert max(shape[0] for shape in rows if shape[1] == 1) == 4
    assert len([shape for shape in rows if shape[1] > 1]) >= 4
