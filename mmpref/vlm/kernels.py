"""Which kernel attends: chosen here alone, by device, precision and size, or as a recipe's ``attn`` says.

* sdpa: torch's own attention. Plainly causal prompts keep its causal fast path; the answers behind them have a mask.
* flash: FlashAttention, where nothing needs a mask: each answer is a sequence of its own with its prompt's keys.
* flex: torch's FlexAttention under a mask in blocks, whole blocks of which are left out.

flash and flex take all rows of a batch as one sequence without padding. transformers knows one entry of ours, which
goes by the mask that it is given and not by a setting: gradient checkpointing runs layers again in the backward pass.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flash_attention import get_target_dtype
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_flash_attention_utils import _flash_attention_forward
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available, is_flash_attn_4_available

from mmpref.errors import UsageError

if TYPE_CHECKING:
    from mmpref.vlm.forest import Sequences
    from mmpref.vlm.layout import Slots
    from mmpref.vlm.policy import Policy

Kernel = Literal["eager", "sdpa", "flash", "flex"]

OWN = "mmpref"
"""Our entry among transformers' kinds of attention."""

FLEX_CELLS = 2**24
"""Cells of masks from which on ``auto`` takes blocks instead, on a GPU. What it should be was not measured."""

BLOCK = 128
"""Slots of a block, of which a sequence has a whole number: few sizes, few compilations."""


_NOT_INSTALLED = "FlashAttention is not installed"


class Choice(NamedTuple):
    """A kernel, and why."""

    kernel: Kernel
    reason: str


@dataclass(frozen=True)
class Place:
    """Where a decoder runs, and how.

    Args:
        dtype: None where it is not known yet.
        attends: by itself, as transformers names it.
        has_dropout: of attention.
        is_spread: over several devices.
    """

    device: torch.device
    dtype: torch.dtype | None = None
    attends: str = "sdpa"
    has_dropout: bool = False
    is_spread: bool = False

    @classmethod
    def of(cls, policy: Policy) -> Place:
        config, devices = policy.decoder.config, getattr(policy.base_model, "hf_device_map", None) or {}
        return cls(
            policy.device,
            policy.dtype,
            config._attn_implementation,
            bool(getattr(config, "attention_dropout", 0)),
            len(set(devices.values())) > 1,
        )


def choose(asked: str, place: Place, *, needs_mask: bool, cells: int) -> Choice:
    """The kernel for a batch.

    Args:
        asked: ``auto``, ``sdpa``, ``flash`` or ``flex``.
        needs_mask: some prompts see themselves otherwise than causally.
        cells: of the masks that sdpa would take.
    """
    if place.attends not in ("sdpa", OWN):
        return Choice("eager", "the model attends so")
    if asked == "sdpa":
        return Choice("sdpa", "as asked")
    if asked in ("auto", "flash") and not needs_mask and no_flash(place) is None:
        return Choice("flash", "no answer needs a mask")
    if asked == "flex":
        return Choice("flex", "as asked")
    if (reason := no_flex(place)) or cells < FLEX_CELLS:
        return Choice("sdpa", reason or "masks are small")
    return Choice("flex", f"masks would have {cells / 1e6:.0f} million cells")


def no_flash(place: Place) -> str | None:
    """Why FlashAttention cannot be had; None where it can."""
    if place.device.type != "cuda":
        return f"FlashAttention needs a CUDA GPU, and the model is on a {place.device.type}"
    if not (is_flash_attn_2_available() or is_flash_attn_3_available() or is_flash_attn_4_available()):
        return _NOT_INSTALLED
    if place.dtype not in (None, torch.bfloat16, torch.float16):
        return f"FlashAttention computes in bf16 or fp16, and the model is in {str(place.dtype).removeprefix('torch.')}"
    return None


def no_flex(place: Place) -> str | None:
    """Why FlexAttention cannot train; None where it can."""
    if place.device.type != "cuda":
        return f"FlexAttention has no backward pass on a {place.device.type}"
    if importlib.util.find_spec("triton") is None:
        return "FlexAttention needs triton"
    if place.has_dropout:
        return "FlexAttention knows no dropout"
    if place.is_spread:
        return "FlexAttention's masks are on one device, and the model is on several"
    return None


def trainable(place: Place) -> list[str]:
    """The kernels that can train here."""
    refused = {"sdpa": None, "flash": no_flash(place), "flex": no_flex(place)}
    return [kernel for kernel, reason in refused.items() if reason is None]


def refuse(asked: str, place: Place) -> None:
    """Refuse a kernel that cannot train here.

    Raises:
        UsageError: with the reason.
    """
    reason = no_flash(place) if asked == "flash" else no_flex(place) if asked == "flex" else None
    if reason:
        install = "pip install flash-attn --no-build-isolation; or l" if reason == _NOT_INSTALLED else "L"
        raise UsageError(f"attn={asked}: {reason}.", f"{install}eave attn out: what fits is chosen then.")


def take_over(config: Any) -> None:
    """Let a decoder attend by what is given to it: for good, not while it is called, since gradient checkpointing runs
    layers again later."""
    if config._attn_implementation == "sdpa":
        config._attn_implementation = OWN


def attention_of(decoder: Any) -> dict[str, str]:
    """By what a decoder attends in the model's own forward, and why."""
    own = decoder.config._attn_implementation
    return {"sdpa" if own == OWN else own: "the model's own forward"}


def block_masks(slots: Slots, kinds: Mapping[str, int | None]) -> dict[str, BlockMask]:
    """What slots [B, T] see in each kind of layer, in blocks.

    Args:
        kinds: window of each kind of layer, None where it is unbounded.
    """
    device, (sequences, size) = slots.valid.device, slots.valid.shape
    make = _compiled_block_mask() if device.type == "cuda" else create_block_mask
    return {
        kind: make(slots.seen(kind, window), sequences, None, size, size, device=device)
        for kind, window in kinds.items()
    }


@cache
def _compiled_block_mask() -> Any:
    """Else all cells of a mask are written out first."""
    return torch.compile(create_block_mask)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | BlockMask | None,
    sequences: Sequences | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, Any]:
    """Attention of queries [B, N, T, D] over as many keys, as transformers' decoders call it.

    Args:
        attention_mask: in blocks; or bool [B, 1, Q, T] for the last queries only, those before which are causal among
            themselves; None: all are.
        sequences: instead of a mask.
    """
    if sequences is not None:
        return _flash(module, query, key, value, sequences, **settings), None
    if isinstance(attention_mask, BlockMask):
        return flex_attention_forward(module, query, key, value, attention_mask, **settings)
    begin = query.shape[2] - (query.shape[2] if attention_mask is None else attention_mask.shape[2])
    if not begin:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    settings.pop("is_causal", None)
    first, _ = sdpa_attention_forward(
        module, query[:, :, :begin], key[:, :, :begin], value[:, :, :begin], None, is_causal=True, **settings
    )
    last, _ = sdpa_attention_forward(module, query[:, :, begin:], key, value, attention_mask, **settings)
    return torch.cat([first, last], 1), None


def _flash(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    sequences: Sequences,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> torch.Tensor:
    """FlashAttention [1, T, N, D] over sequences of different lengths. Fewer queries than keys are the last ones, and
    keys of one sequence stand side by side in the original one, so that windows count right."""
    attended: torch.Tensor = _flash_attention_forward(
        query.transpose(1, 2),
        key.transpose(1, 2)[:, sequences.keys],
        value.transpose(1, 2)[:, sequences.keys],
        None,
        query_length=query.shape[2],
        is_causal=True,
        dropout=dropout,
        softmax_scale=scaling,
        sliding_window=sliding_window,
        softcap=softcap,
        cu_seq_lens_q=sequences.query_starts,
        cu_seq_lens_k=sequences.key_starts,
        max_length_q=sequences.longest_query,
        max_length_k=sequences.longest_key,
        target_dtype=get_target_dtype(query, module),
    )
    return attended


AttentionInterface.register(OWN, _attend)
AttentionMaskInterface.register(OWN, sdpa_mask)
