"""Prompts with images as the decoder sees them: embedded once, then masked by dropping, or seen through noise.

The vision-language model is run up to its decoder's door: a hook records what the decoder would get (embeddings and
positions) and stops. Dropping rows of these equals hiding them from attention exactly, as long as positions stay
what they were and every decoder layer is softmax attention over its keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch

from mmpref.errors import ModelError, UsageError
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from mmpref.vlm.policy import Policy

DIFFUSION_STEPS = 1000


@dataclass(frozen=True)
class Context:
    """One prompt at the decoder's door.

    Args:
        embeds: float [S, H], image features merged in.
        positions: long [A, S]; A is 1, or the number of axes of M-RoPE.
        is_image: bool [S], the rows that hold image features (for LLaVA-NeXT row newlines too).
    """

    embeds: torch.Tensor
    positions: torch.Tensor
    is_image: torch.Tensor

    @property
    def image_tokens(self) -> int:
        return int(self.is_image.sum())

    def drop(self, kept_image_tokens: torch.Tensor, positions: Literal["original", "compact"]) -> Context:
        """Hide image tokens from every query by removing them.

        Args:
            kept_image_tokens: bool [k], over the image tokens in order.
            positions: ``original`` keeps every position as it was (masking, exactly); ``compact`` renumbers.

        Raises:
            UsageError: ``compact`` for a model whose positions have several axes.
        """
        keep = torch.ones_like(self.is_image)
        keep[self.is_image] = kept_image_tokens.to(keep.device)
        numbers = self.positions[:, keep]
        if positions == "compact":
            if len(numbers) > 1:
                raise UsageError("positions=compact has no meaning under M-RoPE.", "Use positions=original.")
            numbers = torch.arange(numbers.shape[1], device=numbers.device)[None]
        return Context(self.embeds[keep], numbers, self.is_image[keep])


class _AtTheDoor(Exception):
    def __init__(self, inputs: dict[str, Any]) -> None:
        super().__init__()
        self.inputs = inputs


def _stop_at_the_door(_module: torch.nn.Module, _args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
    raise _AtTheDoor(inputs)


@torch.inference_mode()
def embed_prompt(
    policy: Policy,
    messages: Sequence[Message],
    images: Sequence[Image.Image],
    noise: tuple[int, np.random.Generator] | None = None,
) -> Context:
    """Encode the images once and merge them into the prompt, up to the decoder's door.

    Args:
        noise: (N, generator) to see the images after N of 1000 diffusion steps (PAPER 3.3, closed form, on the
            normalised pixel values).

    Raises:
        ModelError: the number of image embeddings is not what the processor announced.
    """
    text = policy.render(messages, len(images))
    inputs = policy.processor(
        text=[text], images=[list(images)] if images else None, return_tensors="pt", add_special_tokens=False
    )
    if noise is not None:
        steps, generator = noise
        inputs["pixel_values"] = diffuse(inputs["pixel_values"], steps, generator)
    inputs = inputs.to(policy.device, dtype=policy.dtype)
    ids = inputs["input_ids"]
    door = policy.decoder.register_forward_pre_hook(_stop_at_the_door, with_kwargs=True)
    try:
        policy.base_model(**inputs, use_cache=False)
    except _AtTheDoor as stopped:
        seen = stopped.inputs
    else:
        raise ModelError(f"{policy.ref} never called its decoder; it cannot be used.")
    finally:
        door.remove()
    embeds = seen["inputs_embeds"][0]
    if len(embeds) != ids.shape[1]:
        raise ModelError(f"{policy.ref} merged {len(embeds)} embeddings for {ids.shape[1]} prompt tokens.")
    positions = seen.get("position_ids")
    if positions is None:
        positions = torch.arange(len(embeds), device=embeds.device)[None]
    else:
        positions = positions[:, 0] if positions.dim() == 3 else positions[:1]
    return Context(embeds, positions, ids[0] == policy.image_token_id)


@cache
def _signal_shares() -> np.ndarray:
    import numpy as np

    k = np.arange(1, DIFFUSION_STEPS + 1)
    beta = (0.5e-2 - 1e-5) / (1 + np.exp(-(-6 + 12 * k / DIFFUSION_STEPS))) + 1e-5
    shares: np.ndarray = np.cumprod(1 - beta)
    return shares


def diffuse(pixels: torch.Tensor, steps: int, generator: np.random.Generator) -> torch.Tensor:
    """Forward diffusion of normalised pixel values in closed form: sqrt(a) x + sqrt(1 - a) eps (PAPER 3.3, eq. 9).

    Args:
        pixels: float tensor of any shape.
        steps: N of T = 1000; 0 leaves the image as it is.

    Raises:
        UsageError: N outside 0..1000.
    """
    if not 0 <= steps <= DIFFUSION_STEPS:
        raise UsageError(f"noise_steps is {steps}; it must lie between 0 and {DIFFUSION_STEPS}.")
    if steps == 0:
        return pixels
    share = float(_signal_shares()[steps - 1])
    noise = torch.from_numpy(generator.standard_normal(tuple(pixels.shape), dtype="float32"))
    return share**0.5 * pixels + (1 - share) ** 0.5 * noise.to(pixels)
