"""Log-probabilities of given answers, however many tokens go through the output head together."""

from __future__ import annotations

import pytest
import torch

from mmpref.sampling import logprobs
from mmpref.types import Message
from mmpref.vlm.encode import encode
from mmpref.vlm.policy import Policy
from tests.vlm.test_families import picture
from tests.vlm.tiny import tiny

ANSWERS = [(10, 11, 12, 13, 14, 15, 16), (), (17, 18)]


def test_answers_in_chunks_have_the_log_probabilities_of_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny("llava_next")
    inputs = policy.prompter.prepare([Message("user", "describe the picture .")], [picture()])
    prompts = encode(policy, [inputs]) * len(ANSWERS)
    logits = logprobs.answer_logits(policy, prompts, ANSWERS)
    expected = [
        sum(float(row.log_softmax(-1)[token]) for row, token in zip(rows, answer, strict=True))
        for rows, answer in zip(logits, ANSWERS, strict=True)
    ]
    sizes: list[int] = []
    head = Policy.head

    def seen(self: Policy, hidden: torch.Tensor) -> torch.Tensor:
        sizes.append(len(hidden))
        return head(self, hidden)

    monkeypatch.setattr(Policy, "head", seen)
    monkeypatch.setattr(logprobs, "HEAD_TOKENS", 3)
    scores = logprobs.log_probs(policy, prompts, ANSWERS)
    assert [score.total for score in scores] == pytest.approx(expected, rel=1e-5)
    assert [score.tokens for score in scores] == [7, 0, 2]
    assert sizes == [3, 3, 1, 0, 2]
