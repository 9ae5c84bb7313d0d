"""How far an adapter is from its base: the mean KL divergence of a token, over the adapter's own greedy answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmpref.vlm.generate import Request
    from mmpref.vlm.policy import Policy

BATCH = 16
"""Prompts at a time: the logits of both models are kept for so many answers."""


@dataclass(frozen=True)
class MeanKl:
    """KL(adapter || base) in nats a token, and the tokens that it is the mean over."""

    value: float
    tokens: int


def mean_kl(policy: Policy, requests: Sequence[Request], max_new_tokens: int, *, batch_size: int = BATCH) -> MeanKl:
    """The exact divergence at every token of the adapter's greedy answers, the one that ends an answer among them.

    It is over the full vocabulary, in fp32, of the distributions as the models have them. Each model sees the images
    through its own projector.

    Args:
        policy: with an adapter.
        requests: prompts with their images.
        max_new_tokens: bound on an answer.
        batch_size: prompts that are answered together; the value does not depend on it but for rounding.
    """
    import torch

    from mmpref.sampling.logprobs import answer_logits
    from mmpref.vlm.branches import Branch
    from mmpref.vlm.decoding import MODEL, Decoding
    from mmpref.vlm.encode import encode
    from mmpref.vlm.generate import decode

    decoding = Decoding(max_new_tokens, repetition_penalty=MODEL)
    end = min(policy.eos_ids)
    total, tokens = 0.0, 0
    for start in range(0, len(requests), batch_size):
        inputs = [
            policy.prompter.prepare(request.messages, request.images)
            for request in requests[start : start + batch_size]
        ]
        prompts = encode(policy, inputs)
        answers = decode(policy, [Branch(prompt) for prompt in prompts], decoding, width=batch_size)
        # Whichever token ends an answer: only the distribution before it counts.
        answers = [[*ids, end] if len(ids) < max_new_tokens else ids for ids in answers]
        with policy.without_adapter():
            base = list(answer_logits(policy, encode(policy, inputs), answers))
        with torch.inference_mode():
            for own_logits, base_logits in zip(answer_logits(policy, prompts, answers), base, strict=True):
                own, other = own_logits.log_softmax(-1), base_logits.log_softmax(-1)
                total += float((own.exp() * (own - other)).sum(-1).double().sum())
                tokens += len(own)
    return MeanKl(total / max(1, tokens), tokens)
