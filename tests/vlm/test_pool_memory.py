"""How much a pool holds: by free memory and by what a token was measured to take."""

from __future__ import annotations

import pytest

from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import decode
from mmpref.vlm.pool_memory import MOST_ROWS, SHARE, PoolMemory, pool_memory, token_bytes
from mmpref.vlm.shared_prefix_pool import ROW_SLOTS, SharedPrefixPool
from tests.vlm.test_waiting import branches_of
from tests.vlm.tiny import tiny

FAMILIES = ("llava_next", "qwen2_vl", "gemma3")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_token_takes_what_its_keys_and_values_do(name: str) -> None:
    policy = tiny(name)
    text = policy.decoder.config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    assert token_bytes(policy) == 2 * text.num_hidden_layers * text.num_key_value_heads * width * 4


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_as_many_rows_as_the_budget_has_room_for(rows: int) -> None:
    policy = tiny("llava_next")
    a_row = ROW_SLOTS * token_bytes(policy)
    memory = pool_memory(policy, free=int(rows * a_row / SHARE) + 1000)
    assert memory
    assert memory.rows == rows
    assert rows * ROW_SLOTS <= memory.tokens < (rows + 1) * ROW_SLOTS


def test_never_no_row_and_never_too_many() -> None:
    assert PoolMemory(0, 1.0).rows == 1
    assert PoolMemory(10**15, 1.0).rows == MOST_ROWS


def test_a_pool_keeps_to_its_tokens_and_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, held = tiny("llava_next"), [0]
    branches, decoding = branches_of(policy), Decoding(6)
    expected = decode(policy, branches, decoding, width=8)
    longest = max(branch.length for branch in branches) + 6
    step = SharedPrefixPool._step

    def watched(self: SharedPrefixPool) -> object:
        held[0] = max(held[0], len(self._rows))
        return step(self)

    monkeypatch.setattr(SharedPrefixPool, "_step", watched)
    for tokens, rows in ((3 * longest, 3), (longest, 1), (100 * longest, len(branches))):
        held[0], policy.pool_tokens = 0, tokens
        assert decode(policy, branches, decoding, width=8) == expected
        assert held[0] == rows
    policy.pool_tokens = 100 * longest  # what is asked for explicitly wins
    held[0] = 0
    assert decode(policy, branches, decoding, width=2) == expected
    assert held[0] == 2
