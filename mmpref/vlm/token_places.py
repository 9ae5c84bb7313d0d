"""Which image tokens stand for a part of an image: the processor itself says, by what it makes of a mask.

The mask goes the image's way (resized, cropped, cut into tiles), and its pixels are packed as the family packs image
features. What a token has seen of other places through the vision tower's attention is not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageDraw

from mmpref.errors import UsageError
from mmpref.types import Box, Message
from mmpref.vlm.preprocess import Inputs

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


def coverage(policy: Policy, prompt: Sequence[Message], size: tuple[int, int], boxes: Sequence[Box]) -> torch.Tensor:
    """How much of each image token's own place boxes of the image cover, float [tokens] of 0 to 1, on the CPU.

    Args:
        prompt: about one image.
        size: its width and height in pixels.

    Raises:
        UsageError: of this family it is not known where its tokens stand.
    """
    width, height = size
    mask = Image.new("RGB", size)
    for left, top, right, bottom in boxes:
        corners = (round(left * width), round(top * height), round(right * width) - 1, round(bottom * height) - 1)
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            ImageDraw.Draw(mask).rectangle(corners, "white")
    black, shown, white = (
        policy.prompter.prepare(prompt, [picture])
        for picture in (Image.new("RGB", size), mask, Image.new("RGB", size, "white"))
    )
    # What the processor puts around an image is the same in all three, and covered by nothing.
    whole = white["pixel_values"] - black["pixel_values"]
    pixels = torch.where(whole == 0, 0.0, (shown["pixel_values"] - black["pixel_values"]) / whole)
    tokens = int((shown["input_ids"] == policy.image_token_id).sum())
    places = _packed(policy, pixels.float(), shown, tokens)
    if places is None or len(places) != tokens:
        raise UsageError(
            f"It is not known which part of an image each image token of {policy.ref} stands for.",
            "Hide the object's pixels instead: --set builder.hide=pixels",
        )
    return places.clamp(0, 1)


def _packed(policy: Policy, pixels: torch.Tensor, inputs: Inputs, tokens: int) -> torch.Tensor | None:
    """Means of pixels over each token's place; None of a family whose order of tokens is not known."""
    model: Any = policy.base_model.base_model
    if "image_grid_thw" in inputs:  # patches in rows, those of a token one behind the other
        return pixels.flatten(1).mean(1).reshape(tokens, -1).mean(1) if len(pixels) % tokens == 0 else None
    if pixels.ndim == 5 and "image_sizes" in inputs and hasattr(model, "pack_image_features"):
        side = model.config.vision_config.image_size // model.config.vision_config.patch_size
        tiles = torch.nn.functional.adaptive_avg_pool2d(pixels[0].mean(1, keepdim=True), side)
        packed = model.pack_image_features(
            [tiles.flatten(2).transpose(1, 2)], inputs["image_sizes"], "default", image_newline=torch.zeros(1)
        )
        features: torch.Tensor = packed[0][0] if isinstance(packed, tuple) else packed[0]
        return features.flatten()
    side = round(tokens**0.5)
    if pixels.ndim == 4 and len(pixels) == 1 and side * side == tokens:
        return torch.nn.functional.adaptive_avg_pool2d(pixels.mean(1, keepdim=True), side).flatten()
    return None
