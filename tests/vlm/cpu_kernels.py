"""A GPU's kernels on a CPU: FlexAttention as torch's own reference of it, FlashAttention as its documentation says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import modeling_flash_attention_utils

from mmpref.vlm import kernels
from tests.vlm.waiting import unwatched


@unwatched()
def varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
) -> torch.Tensor:
    """`flash_attn_varlen_func`, not fused: queries [Tq, N, D], keys and values [Tk, M, D]; of fewer queries than keys,
    "the causal mask is aligned to the bottom right corner of the attention matrix"."""
    assert (cu_seqlens_q.dtype, cu_seqlens_k.dtype, causal) == (torch.int32, torch.int32, True)
    k, v = (part.repeat_interleave(q.shape[1] // k.shape[1], 1) for part in (k, v))
    query_ends, key_ends, parts = cu_seqlens_q.tolist(), cu_seqlens_k.tolist(), []
    assert (query_ends[-1], key_ends[-1]) == (len(q), len(k))
    for number in range(len(query_ends) - 1):
        queries = q[query_ends[number] : query_ends[number + 1]]
        keys, values = (part[key_ends[number] : key_ends[number + 1]] for part in (k, v))
        assert len(queries) <= max_seqlen_q and len(keys) <= max_seqlen_k  # noqa: PT018
        scores = torch.einsum("qnd,knd->nqk", queries, keys) * (softmax_scale or q.shape[-1] ** -0.5)
        scores = softcap * (scores / softcap).tanh() if softcap else scores
        distance = torch.arange(len(queries))[:, None] + len(keys) - len(queries) - torch.arange(len(keys))
        hidden = distance < 0 if window_size[0] < 0 else (distance < 0) | (distance > window_size[0])
        parts.append(torch.einsum("nqk,knd->qnd", scores.masked_fill(hidden, -torch.inf).softmax(-1), values))
    return torch.cat(parts)


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Within it every kernel can be had."""
    process = modeling_flash_attention_utils._lazy_define_process_function(varlen)
    functions = (None, varlen, None, None, None), (process, None)
    with pytest.MonkeyPatch.context() as patch, torch.compiler.set_stance("force_eager"):
        # torch refuses the backward pass on a CPU, where its reference has one all the same.
        patch.setattr(torch.nn.attention.flex_attention, "_validate_device", lambda *_: None)
        patch.setattr(modeling_flash_attention_utils, "lazy_import_flash_attention", lambda *_: functions)
        patch.setattr(kernels, "no_flash", lambda *_: None)
        patch.setattr(kernels, "no_flex", lambda *_: None)
        yield


def policy_with(policy: Any, attn: str) -> Any:
    """The same policy, which is to attend so."""
    policy.attn = attn
    return policy
