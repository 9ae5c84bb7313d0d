"""Prompts with images as the decoder sees them: embedded once, then masked by dropping, or seen through noise.

The vision-language model is run up to its decoder: a hook records what the decoder would get (embeddings and
positions) and stops. Dropping rows of these equals hiding them from attention exactly, as long as positions stay
what they were and every decoder layer is softmax attention over its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from mmpref.errors import ModelError, UsageError
from mmpref.vlm.noise import add_noise
from mmpref.vlm.preprocess import Inputs
from mmpref.vlm.transfers import to_device

if TYPE_CHECKING:
    import numpy as np

    from mmpref.vlm.policy import Policy

ENCODED_TOKENS = 4096
"""Prompt tokens, image tokens among them, that go through the vision tower together."""


_DECODER_INPUTS = {
    "inputs_embeds",
    "position_ids",
    "attention_mask",
    "deepstack_visual_embeds",
    "visual_pos_masks",
    "cache_position",
    "input_ids",
}
"""Tensors given to the decoder that are dropped row by row, or made anew."""


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt as the decoder gets it: embeddings, positions and masks, image features merged in.

    Args:
        embeds: float [S, H], image features merged in.
        positions: long [A, S]; A is 1, or the number of axes of M-RoPE.
        is_image: bool [S], the rows that hold image features (for LLaVA-NeXT row newlines too); on the host, where
            `encode` made the prompt, so that nobody has to ask the device which they are.
        order: long [S], where each row stood in the whole sequence.
        deepstack: features [k, H] that early decoder layers add to the rows of the k image tokens (Qwen3-VL).
        allowed: where attention is not plainly causal, bool [S, S] for each kind of decoder layer ("" for any): rows
            are queries, columns the keys that they see.
        text_ids: token ids of the prompt without its image tokens, which a repetition penalty counts.
    """

    embeds: torch.Tensor
    positions: torch.Tensor
    is_image: torch.Tensor
    order: torch.Tensor
    deepstack: tuple[torch.Tensor, ...] = ()
    allowed: dict[str, torch.Tensor] | None = None
    text_ids: tuple[int, ...] = ()

    @property
    def image_tokens(self) -> int:
        """How many image tokens it has."""
        return int(self.is_image.sum())

    def without_images(self) -> EncodedPrompt:
        """Without any image token, every other one where it was."""
        return self.drop(torch.zeros(self.image_tokens, dtype=torch.bool), "original")

    def allowed_in(self, kind: str) -> torch.Tensor | None:
        """What a kind of layer sees, bool [S, S]; None where that is plainly causal."""
        allowed = self.allowed or {}
        return allowed.get(kind, allowed.get(""))

    def first(self, size: int) -> EncodedPrompt:
        """Its first so many rows; all images are among them."""
        allowed = {kind: seen[:size, :size] for kind, seen in (self.allowed or {}).items()}
        allowed = {kind: seen for kind, seen in allowed.items() if not torch.equal(seen, torch.ones_like(seen).tril())}
        return EncodedPrompt(
            self.embeds[:size],
            self.positions[:, :size],
            self.is_image[:size],
            self.order[:size],
            self.deepstack,
            allowed or None,
            self.text_ids[: len(self.text_ids) - (len(self.embeds) - size)],
        )

    def drop(self, kept_image_tokens: torch.Tensor, positions: Literal["original", "compact"]) -> EncodedPrompt:
        """Hide image tokens from every query by removing them.

        Args:
            kept_image_tokens: bool [k], over the image tokens in order.
            positions: ``original`` keeps every position as it was (masking, exactly); ``compact`` renumbers.

        Raises:
            UsageError: ``compact`` for a model whose positions have several axes.
        """
        keep = torch.ones_like(self.is_image)
        keep[self.is_image] = kept_image_tokens = kept_image_tokens.to(keep.device)
        # Numbers of rows, not a mask, which a device would have to count out for the host.
        rows = to_device(keep.nonzero()[:, 0], self.embeds.device)
        features = to_device(kept_image_tokens.nonzero()[:, 0], self.embeds.device) if self.deepstack else rows
        numbers = self.positions[:, rows]
        if positions == "compact":
            if len(numbers) > 1:
                raise UsageError("positions=compact has no meaning under M-RoPE.", "Use positions=original.")
            numbers = torch.arange(numbers.shape[1], device=numbers.device)[None]
        return EncodedPrompt(
            self.embeds[rows],
            numbers,
            self.is_image[keep],
            self.order[rows],
            tuple(layer[features] for layer in self.deepstack),
            {kind: seen[rows][:, rows] for kind, seen in self.allowed.items()} if self.allowed else None,
            self.text_ids,
        )


class _DecoderReached(Exception):
    def __init__(self, inputs: dict[str, Any]) -> None:
        super().__init__()
        self.inputs = inputs


def _stop_at_decoder(_module: torch.nn.Module, _args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
    raise _DecoderReached(inputs)


def encode(
    policy: Policy,
    prompts: Sequence[Inputs],
    noise: tuple[int, Sequence[np.random.Generator]] | None = None,
    keep: Callable[[int, EncodedPrompt], EncodedPrompt] = lambda _, prompt: prompt,
    around_run: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[EncodedPrompt]:
    """Encode the images and merge them into their prompts, up to the decoder. Prompts whose inputs have equal
    shapes go through the vision tower together.

    Args:
        noise: (N, a generator for each prompt) to see the images after N of 1000 diffusion steps (arXiv 2407.02477,
            section 3.3, closed form, on the normalised pixel values).
        keep: what to keep of each encoded prompt, by its number, while the next ones are encoded.
        around_run: what to enter around each run of the vision tower.

    Raises:
        ModelError: the number of image embeddings is not what the processor announced.
    """
    if noise is not None:
        steps, generators = noise
        prompts = [
            {**inputs, "pixel_values": add_noise(inputs["pixel_values"], steps, generator, policy.processor)}
            for inputs, generator in zip(prompts, generators, strict=True)
        ]
    same_shapes: dict[Any, list[int]] = {}
    for index, inputs in enumerate(prompts):
        same_shapes.setdefault(tuple((name, value.shape) for name, value in inputs.items()), []).append(index)
    encoded: dict[int, EncodedPrompt] = {}
    for indices in same_shapes.values():
        batch_size = max(1, ENCODED_TOKENS // prompts[indices[0]]["input_ids"].shape[1])
        for start in range(0, len(indices), batch_size):
            group = indices[start : start + batch_size]
            with around_run():
                batch = _encode_batch(policy, [prompts[index] for index in group])
            encoded.update((index, keep(index, prompt)) for index, prompt in zip(group, batch, strict=True))
            del batch
    return [encoded[index] for index in range(len(prompts))]


@torch.inference_mode()
def _encode_batch(policy: Policy, prompts: Sequence[Inputs]) -> list[EncodedPrompt]:
    # One prompt is not copied: images are large.
    given = {
        name: torch.cat([prompt[name] for prompt in prompts]) if len(prompts) > 1 else prompts[0][name]
        for name in prompts[0]
    }
    inputs = {name: to_device(value, policy.device) for name, value in given.items()}
    inputs = {name: value.to(policy.dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    return decoder_inputs(policy, inputs, given["input_ids"])


def decoder_inputs(policy: Policy, inputs: Inputs, ids: torch.Tensor | None = None) -> list[EncodedPrompt]:
    """What the decoder would get of a batch, an encoded prompt for each row; with gradients where they are wanted.

    Args:
        inputs: as the model takes them, ``input_ids`` [B, S] among them.
        ids: the same ``input_ids`` on the host. Without them prompts have no ``text_ids``, and their ``is_image`` is
            where the model is: both would have to wait for it.

    Raises:
        ModelError: the number of image embeddings is not what the processor announced, or the decoder is given
            something that cannot be divided by rows.
    """
    hook = policy.decoder.register_forward_pre_hook(_stop_at_decoder, with_kwargs=True)
    try:
        policy.base_model(**inputs, use_cache=False)
    except _DecoderReached as stopped:
        given = stopped.inputs
    else:
        raise ModelError(f"{policy.ref} never called its decoder; it cannot be used.")
    finally:
        hook.remove()
    unknown = [name for name, value in given.items() if isinstance(value, torch.Tensor) and name not in _DECODER_INPUTS]
    if unknown:
        raise ModelError(
            f"The decoder of {policy.ref} is also given {', '.join(unknown)}: mmpref cannot hide image tokens in that.",
            "Supported model types: mmpref list families.",
        )
    is_image = (inputs["input_ids"] if ids is None else ids) == policy.image_token_id
    embeds = given["inputs_embeds"]
    if embeds.shape[:2] != is_image.shape:
        raise ModelError(f"{policy.ref} merged {embeds.shape[1]} embeddings for {is_image.shape[1]} prompt tokens.")
    rows, size = is_image.shape
    order = torch.arange(size, device=embeds.device)
    positions = given.get("position_ids")
    if positions is None:
        positions = order.expand(1, rows, -1)
    elif positions.dim() == 2:
        positions = positions.expand(rows, -1)[None]
    allowed = [_non_causal_masks(given.get("attention_mask"), row) for row in range(rows)]
    if not policy.causal_prompts:  # such a decoder makes no mask where it is given none
        both = {"": torch.ones(size, size, dtype=torch.bool, device=embeds.device)}
        allowed = [masks or both for masks in allowed]
    layers = given.get("deepstack_visual_embeds") or ()
    counts = is_image.sum(1).tolist() if layers else []
    features = [layer.split(counts) for layer in layers]
    return [
        EncodedPrompt(
            embeds[row],
            positions[:, row],
            is_image[row],
            order,
            tuple(layer[row] for layer in features),
            allowed[row],
            () if ids is None else tuple(ids[row][~is_image[row]].tolist()),
        )
        for row in range(rows)
    ]


def _non_causal_masks(mask: Any, row: int) -> dict[str, torch.Tensor] | None:
    """What each kind of layer sees, where the model made masks itself: images whose tokens see each other both ways."""
    masks = mask if isinstance(mask, dict) else {"": mask}
    allowed = {}
    for kind, given in masks.items():
        if isinstance(given, torch.Tensor) and given.dim() == 4:
            own = given[row if len(given) > 1 else 0, 0]
            own = own if own.dtype == torch.bool else own >= 0
            if not torch.equal(own, torch.ones_like(own).tril()):
                allowed[kind] = own
    return allowed or None
