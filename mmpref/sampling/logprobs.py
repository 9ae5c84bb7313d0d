"""Log-probabilities of given answers: one forward of prompt and answer, the image encoded once for all answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmpref.types import Message
from mmpref.vlm.attention import PREFILL_TOKENS, Attention
from mmpref.vlm.transfers import on_device

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt
    from mmpref.vlm.policy import Policy

HEAD_TOKENS = 1024
"""Tokens of an answer that go through the output head together: at a vocabulary of 152,064 their logits are 0.6 GB."""


@dataclass(frozen=True)
class Score:
    """The log-probability of an answer in nats, the sum over its tokens, and how many tokens these are."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """The log-probability of a token, in nats."""
        return self.total / max(1, self.tokens)


def answer_tokens(policy: Policy, prompt: Sequence[Message], images: int, answer: str) -> list[int]:
    """All tokens that the prompt format writes behind a prompt for an answer, as training counts them: before it, its
    own, and what ends it (EOS).

    Args:
        images: how many the prompt has.

    Raises:
        ChatTemplateError: the chat template writes another answer.
    """
    return policy.written_answer(prompt, images, answer).ids


def own_tokens(policy: Policy, prompt: Sequence[Message], images: int, answer: str) -> tuple[list[int], int]:
    """`answer_tokens` up to the answer's end, and how many of them the format writes before it.

    Raises:
        ChatTemplateError: as `answer_tokens`.
    """
    written = policy.written_answer(prompt, images, answer)
    end = written.begin + len(answer)
    ids = [token for token, (begin, _) in zip(written.ids, written.spans, strict=True) if begin < end]
    return ids, written.first


@torch.inference_mode()
def log_probs(
    policy: Policy,
    prompts: Sequence[EncodedPrompt],
    answers: Sequence[Sequence[int]],
    firsts: Sequence[int] | None = None,
) -> list[Score]:
    """Score an answer behind each prompt.

    Args:
        prompts: one that has several answers is given once for each.
        answers: token ids.
        firsts: of each answer, the token from which on it is scored; by default the first.
    """
    starts = [0] * len(answers) if firsts is None else firsts
    totals = [
        _summed(policy, hidden[start:], ids[start:])
        for (hidden, ids), start in zip(_answer_hidden(policy, prompts, answers), starts, strict=True)
    ]
    sums = torch.stack(totals).tolist() if totals else []  # read once, when all is done
    return [Score(total, len(tokens) - start) for total, tokens, start in zip(sums, answers, starts, strict=True)]


def _summed(policy: Policy, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Summed log-probability of tokens [T], given the hidden states [T, H] that predict them."""
    parts = []
    for some, of_them in zip(hidden.split(HEAD_TOKENS), ids.split(HEAD_TOKENS), strict=True):
        logits = policy.head(some).float()
        parts.append(logits.log_softmax(-1).gather(1, of_them[:, None].to(logits.device)).sum())
    return torch.stack(parts).sum()


@torch.inference_mode()
def answer_logits(
    policy: Policy, prompts: Sequence[EncodedPrompt], answers: Sequence[Sequence[int]]
) -> Iterator[torch.Tensor]:
    """The logits, fp32 [T, V], that predict the T tokens of the answer behind each prompt; arguments as `log_probs`."""
    for hidden, _ in _answer_hidden(policy, prompts, answers):
        yield policy.head(hidden).float()


def _answer_hidden(
    policy: Policy, prompts: Sequence[EncodedPrompt], answers: Sequence[Sequence[int]]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The hidden states [T, H] that predict the T tokens of the answer behind each prompt, and these, long [T]."""
    attention, start = Attention(policy), 0
    while start < len(prompts):
        end, longest = start, 0
        while end < len(prompts):
            longest = max(longest, len(prompts[end].embeds) + len(answers[end]))
            if end > start and longest * (end - start + 1) > PREFILL_TOKENS:
                break
            end += 1
        batch = slice(start, end)
        hidden, _ = attention.prefill(prompts[batch], answers[batch])
        for row, prompt, tokens in zip(hidden, prompts[batch], answers[batch], strict=True):
            begin = len(prompt.embeds) - 1  # the prompt's last token predicts the answer's first
            yield row[begin : begin + len(tokens)], on_device(tokens, row.device)
        start = end
