"""A family that nobody has tried is not trusted: dropping image tokens must equal masking them, or it is refused.

Run once when such a model is loaded, in fp32, on two pictures of noise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from mmpref.errors import ModelError, reason_of
from mmpref.types import Message
from mmpref.vlm.attention import Attention, kinds_of_layers
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.families import refusal
from mmpref.vlm.generate import decode
from mmpref.vlm.smoke_test import picture

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

TOLERANCE, QUANTIZED_TOLERANCE = 1e-3, 5e-2
"""Largest difference of logits that is allowed, in units of the largest logit."""

_NEW_TOKENS = 4


def verify_family(policy: Policy) -> dict[str, float]:
    """Compare dropping with masking, shared decoding with anew, and all of it with the model's own logits.

    Returns:
        The largest differences, in units of the largest logit: ``own`` (nothing dropped, against the model),
        ``half`` and ``none`` (half of the image tokens kept, none kept; against masking), ``leak`` (another image,
        all tokens hidden), and ``tolerance``.

    Raises:
        ModelError: one of them is too large, or the engine's answer is another than the masked model's.
    """
    if reason := refusal(kinds_of_layers(policy.decoder.config)):
        raise ModelError(f"{policy.ref} cannot be used: {reason}.", "Supported: mmpref list families.")
    try:
        return _differences(policy)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{policy.ref} cannot be used: its decoder does not run as mmpref calls it ({reason_of(error)}).",
            "Supported: mmpref list families.",
        ) from error


def _differences(policy: Policy) -> dict[str, float]:
    quantized = getattr(policy.base_model, "is_quantized", False)
    tolerance = QUANTIZED_TOLERANCE if quantized else TOLERANCE
    with _in_fp32(policy), torch.inference_mode():
        prompts = [
            policy.prompter.prepare([Message("user", "Describe the picture.")], [picture((320, 224), seed)])
            for seed in range(2)
        ]
        whole, other = (encode(policy, [prompt])[0] for prompt in prompts)
        if not whole.image_tokens:
            raise ModelError(f"{policy.ref} has no image tokens (id {policy.image_token_id}) in its prompts.")
        inputs = {name: value.to(policy.device) for name, value in prompts[0].items()}
        own = policy.base_model(**inputs, use_cache=False).logits[0, -1].float()
        half = torch.arange(whole.image_tokens) % 2 == 0
        none = torch.zeros_like(half)
        unit = float(own.abs().max())

        def difference(left: torch.Tensor, right: torch.Tensor) -> float:
            return float((left - right).abs().max()) / unit

        hidden = _masked(policy, whole, none)
        differences = {
            "own": difference(_logits(policy, whole), own),
            "half": difference(_logits(policy, whole.drop(half, "original")), _masked(policy, whole, half)),
            "none": difference(_logits(policy, whole.drop(none, "original")), hidden),
            "leak": difference(hidden, _masked(policy, other, none)),
        }
        wrong = {name: value for name, value in differences.items() if not value <= tolerance}
        if wrong:
            shown = ", ".join(f"{name} {value:.2g}" for name, value in wrong.items())
            raise ModelError(
                f"{policy.ref} cannot be used: dropping its image tokens is not masking them (logits "
                f"differ by {shown} of the largest; {tolerance:g} is allowed).",
                "Supported: mmpref list families.",
            )
        dropped = whole.drop(half, "original")
        (tokens,) = decode(policy, [Branch(dropped)], Decoding(_NEW_TOKENS))
        for length in range(len(tokens)):
            logits = _masked(policy, whole, half, tokens[:length])
            logits[sorted(policy.suppressed_ids)] = -torch.inf
            # Another token counts only where it is no tie.
            if float(logits.max() - logits[tokens[length]]) > tolerance * unit:
                raise ModelError(
                    f"{policy.ref} cannot be used: decoding from a cache gives other tokens than decoding anew.",
                    "Supported: mmpref list families.",
                )
    return {**differences, "tolerance": tolerance}


def _masked(policy: Policy, whole: EncodedPrompt, kept: torch.Tensor, text: Sequence[int] = ()) -> torch.Tensor:
    """The last logits of the whole prompt and text, computed anew, where nothing sees the image tokens not kept."""
    length, size, device = len(whole.embeds), len(whole.embeds) + len(text), whole.embeds.device
    steps = torch.arange(len(text), device=device)
    visible = torch.ones(size, dtype=torch.bool, device=device)
    visible[:length][whole.is_image] = kept.to(device)
    place = torch.arange(size, device=device)
    allowed = {}
    for kind, window in kinds_of_layers(policy.decoder.config).items():
        mask = place[:, None] >= place
        if window is not None:
            mask &= place[:, None] - place < window
        prompt_mask = (whole.allowed or {}).get(kind, (whole.allowed or {}).get(""))
        if prompt_mask is not None:
            mask[:length, :length] = prompt_mask
        # A hidden row must see something, or its softmax is not a number; nothing else sees that row.
        allowed[kind] = mask & visible | torch.eye(size, dtype=torch.bool, device=device)
    prompt = EncodedPrompt(
        torch.cat([whole.embeds, policy.embed(torch.tensor(text, dtype=torch.long, device=device))]),
        torch.cat([whole.positions, whole.positions[:, -1:] + 1 + steps], dim=1),
        torch.cat([whole.is_image, torch.zeros(len(text), dtype=torch.bool, device=whole.is_image.device)]),
        place,
        whole.deepstack,
        allowed,
    )
    return _logits(policy, prompt)


def _logits(policy: Policy, prompt: EncodedPrompt) -> torch.Tensor:
    hidden, _ = Attention(policy).prefill([prompt], [()])
    return policy.head(hidden[0, -1]).float()


@contextlib.contextmanager
def _in_fp32(policy: Policy) -> Iterator[None]:
    """The model in fp32 for a while. Every tensor comes back in the dtype it had: a model in bf16 keeps its rotary
    frequencies in fp32, and a cast of the whole model would round them. Quantized models stay as they are."""
    dtype = policy.dtype
    if getattr(policy.base_model, "is_quantized", False) or dtype == torch.float32:
        yield
        return
    model = policy.base_model
    parameters = [(parameter, parameter.dtype) for parameter in model.parameters()]
    buffers = [(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items()]
    model.float()
    try:
        yield
    finally:
        for parameter, before in parameters:
            parameter.data = parameter.data.to(before)
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
