"""Where image tokens stand, against what is known of the families' grids."""

from __future__ import annotations

import pytest
import torch

from mmpref.errors import UsageError
from mmpref.types import Message, ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.token_places import coverage
from tests.vlm.tiny import tiny

ASKED = (Message("user", "describe the picture ."),)


def test_of_tiles_those_are_covered_that_show_the_box_and_a_part_of_the_base() -> None:
    """The testbed's model: a base of 2 x 2 tokens, then 6 rows of 6 and a newline each."""
    policy = load_policy(ModelRef("pkg:mmpref.testbed/model"))
    found = coverage(policy, ASKED, (96, 96), [(1 / 3, 0.0, 2 / 3, 1 / 3)])
    assert len(found) == 4 + 6 * 7
    grid = found[4:].reshape(6, 7)
    expected = torch.zeros(6, 7)
    expected[:2, 2:4] = 1
    assert torch.allclose(grid, expected, atol=0.02)
    assert found[:4].tolist() == pytest.approx([2 / 9, 2 / 9, 0, 0], abs=0.03), "a third of a half, two thirds of it"
    nothing = coverage(policy, ASKED, (96, 96), [])
    assert not nothing.any()


@pytest.mark.parametrize("name", ["llava", "llava_next", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gemma3", "paligemma"])
def test_a_whole_image_covers_every_token_and_its_left_half_half_of_them(name: str) -> None:
    policy = tiny(name)
    whole = coverage(policy, ASKED, (64, 64), [(0.0, 0.0, 1.0, 1.0)])
    assert len(whole) > 1
    seen = whole > 0.5  # newlines of tiles are no place
    assert seen.sum() >= 0.7 * len(whole)
    left = coverage(policy, ASKED, (64, 64), [(0.0, 0.0, 0.5, 1.0)])
    right = coverage(policy, ASKED, (64, 64), [(0.5, 0.0, 1.0, 1.0)])
    assert torch.allclose(left + right, whole, atol=0.05)
    assert float(left.sum()) == pytest.approx(float(right.sum()), rel=0.1)


def test_families_of_another_order_are_refused() -> None:
    with pytest.raises(UsageError, match="hide=pixels"):
        coverage(tiny("smolvlm"), ASKED, (64, 64), [(0.0, 0.0, 1.0, 1.0)])
