"""Where image tokens stand, against what is known of the families' grids."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from PIL import Image

from mmpref.errors import UsageError
from mmpref.types import Box, Message, ModelRef
from mmpref.vlm.encode import encode
from mmpref.vlm.families import find_family
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from mmpref.vlm.token_places import coverage
from mmpref.vlm.vision_tower import VisionTower, forward_of
from tests.vlm.tiny import picture, policy_of, tiny

ASKED = (Message("user", "describe the picture ."),)
BOXES: list[Box] = [(0.0, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 0.5), (0.5, 0.5, 1.0, 1.0), (0.0, 0.0, 1 / 3, 1 / 3)]


def changed(policy: Policy, size: tuple[int, int], box: Box) -> torch.Tensor:
    """Which image tokens are others when the pixels of a box are, bool [tokens]: the oracle. The tower's layers, in
    which every place sees every other, are left out."""
    width, height = size
    left, top, right, bottom = (round(part * side) for part, side in zip(box, (width, height) * 2, strict=True))
    before = np.asarray(picture(0, height, width)) // 2 + 64
    after = before.copy()
    after[top:bottom, left:right] = 255 - after[top:bottom, left:right]
    with contextlib.ExitStack() as stack:
        for layer in VisionTower(policy)._layers():
            stack.enter_context(forward_of(layer, lambda hidden_states, *_, **__: hidden_states))
        one, other = (
            encode(policy, [policy.prompter.prepare(ASKED, [Image.fromarray(pixels)])])[0] for pixels in (before, after)
        )
    moved = (one.embeds - other.embeds)[one.is_image].abs().amax(1)
    return moved > 0.05 * moved.max()  # beside a box its edge is still seen a little, once the image is resized


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


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("llava", (16, 16)),
        ("llava", (32, 16)),
        ("llava_pixtral", (36, 16)),
        ("llava_pixtral", (16, 36)),
        ("llava_pixtral", (40, 24)),
        ("mistral3", (48, 16)),
        ("mistral3", (32, 8)),
        ("lighton_ocr", (8, 32)),
        ("lighton_ocr", (32, 24)),
        ("qwen2_vl", (64, 32)),
        ("qwen3_vl", (64, 96)),
        ("glm4v", (96, 48)),
        ("paddleocr_vl", (64, 64)),
        ("paddleocr_vl", (64, 128)),
        ("video_llama_3", (96, 64)),
        ("llava_next", (32, 16)),
        ("llava_next", (24, 32)),
        ("llava_next_video", (32, 32)),
        ("llava_onevision", (32, 32)),
        ("llava_onevision", (16, 32)),
        ("internvl", (16, 16)),
        ("aya_vision", (16, 16)),
        ("cohere2_vision", (16, 16)),
        ("ovis2", (16, 16)),
        ("deepseek_vl", (32, 16)),
        ("janus", (16, 32)),
        ("gemma3", (32, 16)),
        ("paligemma", (16, 32)),
        ("vipllava", (16, 16)),
    ],
)
def test_covered_tokens_are_those_that_pixels_of_the_box_change(name: str, size: tuple[int, int], box: Box) -> None:
    policy = policy_of(name)
    covered, seen = coverage(policy, ASKED, size, [box]), changed(policy, size, box)
    assert len(covered) == len(seen)
    assert (covered > 0.25).any()
    assert seen[covered > 0.25].all(), "hidden, and of another place"
    assert not seen[covered == 0].any(), "of the box, and not hidden"


def test_of_a_family_that_nobody_has_tried_no_order_is_guessed() -> None:
    """Aria's 256 tokens of an image are no grid, though they are 16 x 16 many: queries that were learned."""
    known = policy_of("gemma3")
    policy = Policy(known.base_model, known.processor, find_family("aria", "tiny"), known.ref)
    with pytest.raises(UsageError, match="hide=pixels"):
        coverage(policy, ASKED, (16, 16), BOXES[:1])


def test_families_of_another_order_are_refused() -> None:
    with pytest.raises(UsageError, match="hide=pixels"):
        coverage(tiny("smolvlm"), ASKED, (64, 64), [(0.0, 0.0, 1.0, 1.0)])
