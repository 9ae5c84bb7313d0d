"""How much a decoding pool may hold: by the memory that a device has left beside the weights, and by what a token was
measured to take there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmpref.types import Message
from mmpref.vlm.attention import Attention
from mmpref.vlm.encode import encode
from mmpref.vlm.shared_prefix_pool import ROW_SLOTS

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

SHARE = 0.7
"""Of the free memory, for keys and values; the rest is for what a prefill works with, for scores, and for buffers while
they grow."""
MOST_ROWS = 512
"""Decoded together: beyond them a step takes as much longer as there are more."""
_MEASURED_TOKENS = 64


@dataclass(frozen=True)
class PoolMemory:
    """What a pool may hold.

    Args:
        free: bytes that were free beside the weights.
        token_bytes: that keys and values of a token take in all layers, measured.
    """

    free: int
    token_bytes: float

    @property
    def tokens(self) -> int:
        """Whose keys and values fit."""
        return int(self.free * SHARE / self.token_bytes)

    @property
    def rows(self) -> int:
        """Of `ROW_SLOTS` tokens that fit, one at least."""
        return max(1, min(MOST_ROWS, self.tokens // ROW_SLOTS))

    def __str__(self) -> str:
        kib = self.token_bytes / 2**10
        return f"{self.free / 2**30:.1f} GiB are free beside the weights, a token takes {kib:.0f} KiB"


def pool_memory(policy: Policy, free: int | None = None) -> PoolMemory | None:
    """What pools of this policy may hold; None where they share no prefix, and hold no cache of their own.

    Args:
        free: bytes; by default those of the policy's device now.
    """
    if not policy.family.shares_prefix:
        return None
    return PoolMemory(free_bytes(policy.device) if free is None else free, token_bytes(policy))


@torch.inference_mode()
def token_bytes(policy: Policy) -> float:
    """Bytes that keys and values of a token take in all layers: of a prompt that is run."""
    prompt = policy.prompter.prepare([Message("user", "Describe it. " * _MEASURED_TOKENS)], [])
    [encoded] = encode(policy, [prompt])
    _, filled = Attention(policy).prefill([encoded], [()])
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in filled.cache.layers)
    return float(held / len(encoded.embeds))


def free_bytes(device: torch.device) -> int:
    """Memory that is free there for tensors: what torch holds unused too."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    import psutil

    return int(psutil.virtual_memory().available)
