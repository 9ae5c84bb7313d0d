"""Log-probabilities of given answers: one forward of prompt and answer, the image encoded once for all answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmpref.types import Message
from mmpref.vlm.attention import PREFILL_TOKENS, Attention

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt
    from mmpref.vlm.policy import Policy


@dataclass(frozen=True)
class Score:
    """Of one answer: the sum of its tokens' log-probabilities, and how many tokens that are."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        return self.total / max(1, self.tokens)


def answer_tokens(policy: Policy, prompt: Sequence[Message], images: int, answer: str) -> list[int]:
    """An answer's tokens, as the prompt format writes it behind the prompt; what the format puts behind it is left out.

    Args:
        images: how many the prompt has.
    """
    text, start = policy.answer_in_format(prompt, images, answer)
    end = start + len(answer)
    encoded = policy.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [
        token for token, (begin, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True) if begin < end
    ]


@torch.inference_mode()
def log_probs(policy: Policy, contexts: Sequence[EncodedPrompt], answers: Sequence[Sequence[int]]) -> list[Score]:
    """Score an answer behind each context.

    Args:
        contexts: prompts at the decoder's door; one that has several answers is given once for each.
        answers: token ids.
    """
    scores: list[Score] = []
    attention, start = Attention(policy), 0
    while start < len(contexts):
        end, longest = start, 0
        while end < len(contexts):
            longest = max(longest, len(contexts[end].embeds) + len(answers[end]))
            if end > start and longest * (end - start + 1) > PREFILL_TOKENS:
                break
            end += 1
        group = slice(start, end)
        hidden, _ = attention.prefill(contexts[group], answers[group])
        for row, context, tokens in zip(hidden, contexts[group], answers[group], strict=True):
            begin = len(context.embeds) - 1  # the prompt's last token predicts the answer's first
            logits = policy.head(row[begin : begin + len(tokens)]).float()
            chosen = torch.tensor(list(tokens), device=logits.device)[:, None]
            total = logits.log_softmax(-1).gather(1, chosen).sum().item() if tokens else 0.0
            scores.append(Score(total, len(tokens)))
        start = end
    return scores
