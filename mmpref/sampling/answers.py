"""Whole answers of a policy to encoded prompts, decoded in one pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.reasoning import read
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.detokenize import Detokenizer
from mmpref.vlm.generate import Answer, decode

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt
    from mmpref.vlm.policy import Policy


def answer_of(detokenize: Detokenizer, ids: Sequence[int], limit: int) -> Answer:
    """What was written, as an answer: without reasoning (`mmpref.reasoning`), with which nobody compares, judges or
    trains answers. Reasoning that comes to no answer is cut off.

    Args:
        ids: its tokens.
        limit: the bound on their number.
    """
    reply = read(detokenize(ids))
    return Answer(reply.answer or "", len(ids) >= limit or reply.answer is None)


def generate_answers(
    policy: Policy, prompts: Sequence[EncodedPrompt], names: Sequence[str], decoding: Decoding, *, width: int = 64
) -> list[Answer]:
    """One answer for each prompt.

    Args:
        names: of the examples, which with the decoding's seed name their random streams.
        width: branches decoded together, at most.
    """
    branches = [Branch(prompt, stream=(name, 1, "answer")) for prompt, name in zip(prompts, names, strict=True)]
    return _answers(policy, branches, decoding, width)


def sample_answers(
    policy: Policy,
    prompts: Sequence[EncodedPrompt],
    names: Sequence[str],
    decoding: Decoding,
    samples: int,
    *,
    width: int = 64,
) -> list[list[Answer]]:
    """Several answers for each prompt, each by its own random stream; one prefill of a prompt serves them all.

    Args:
        names: as for `write`.
        width: branches decoded together, at most.
    """
    branches = [
        Branch(prompt, stream=(name, number, "sample"))
        for prompt, name in zip(prompts, names, strict=True)
        for number in range(samples)
    ]
    answers = _answers(policy, branches, decoding, width)
    return [answers[start : start + samples] for start in range(0, len(answers), samples)]


def _answers(policy: Policy, branches: Sequence[Branch], decoding: Decoding, width: int) -> list[Answer]:
    detokenize, limit = Detokenizer(policy), decoding.max_new_tokens
    return [answer_of(detokenize, ids, limit) for ids in decode(policy, branches, decoding, width=width)]
