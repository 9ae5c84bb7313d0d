"""Which image tokens stand for a part of an image: the processor itself says, by what it makes of a mask.

The mask goes the image's way (resized, cropped, cut into tiles), and its pixels are packed as the family packs image
features. What a token has seen of other places through the vision tower's attention is not told.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageDraw
from torch.nn.functional import adaptive_avg_pool2d

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
    if not policy.family.tested:  # as many tokens as a grid has may be queries that look everywhere
        return None
    if "image_grid_thw" in inputs:
        return _of_patches(pixels, inputs["image_grid_thw"][0].tolist(), tokens)
    if pixels.ndim == 5 and "image_sizes" in inputs:
        return _of_tiles(policy.base_model.base_model, pixels[0], inputs["image_sizes"])
    if pixels.ndim == 4 and len(pixels) == 1 and (grid := _grid(pixels.shape[-2:], tokens)):
        return adaptive_avg_pool2d(pixels.mean(1, keepdim=True), grid).flatten()
    return None


def _of_patches(pixels: torch.Tensor, grid: Sequence[int], tokens: int) -> torch.Tensor | None:
    """Of patches [n, ...] of a grid of (frames, rows, columns), of which a token has a square each."""
    patches, (_, rows, columns) = pixels.flatten(1).mean(1), grid
    if pixels.ndim == 2:  # flattened, those of a token one behind the other
        return patches.reshape(tokens, -1).mean(1) if len(patches) % tokens == 0 else None
    if len(patches) != rows * columns or not (merged := _grid((rows, columns), tokens)):
        return None
    return adaptive_avg_pool2d(patches.reshape(1, 1, rows, columns), merged).flatten()  # row by row of the image


def _of_tiles(model: Any, pixels: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor | None:
    """Of an image as a whole and its tiles [n, 3, H, W], which the model itself puts together again."""
    if not hasattr(model, "pack_image_features"):
        return None
    side = model.config.vision_config.image_size // model.config.vision_config.patch_size
    tiles = adaptive_avg_pool2d(pixels.mean(1, keepdim=True), side).flatten(2).transpose(1, 2)
    taken = inspect.signature(model.pack_image_features).parameters
    how = {
        "vision_feature_select_strategy": "default",  # no token of a whole tile is among them
        "vision_aspect_ratio": getattr(model.config, "vision_aspect_ratio", None),
    }
    packed = model.pack_image_features(
        [tiles], sizes, image_newline=torch.zeros(1), **{name: how[name] for name in how if name in taken}
    )
    features: torch.Tensor = packed[0][0] if isinstance(packed, tuple) else packed[0]
    return features.flatten()


def _grid(shape: Sequence[int], tokens: int) -> tuple[int, int] | None:
    """Rows and columns of so many tokens, of equal squares each of an image [H, W]; None where there are no such."""
    height, width = shape
    rows = round((tokens * height / width) ** 0.5)
    columns = tokens // max(1, rows)
    return (rows, columns) if rows * columns == tokens and rows * width == columns * height else None
