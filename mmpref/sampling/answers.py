"""Whole answers of a policy to prompts at the decoder's door, decoded in one pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.reasoning import read
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.detokenize import Texts
from mmpref.vlm.generate import Answer, decode

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt
    from mmpref.vlm.policy import Policy


def answer_of(texts: Texts, ids: Sequence[int], limit: int) -> Answer:
    """What was written, as an answer: without reasoning (`mmpref.reasoning`), with which nobody compares, judges or
    trains answers. Reasoning that comes to no answer is cut off.

    Args:
        ids: its tokens.
        limit: the bound on their number.
    """
    said = read(texts(ids))
    return Answer(said.answer or "", len(ids) >= limit or said.answer is None)


def write(
    policy: Policy, contexts: Sequence[EncodedPrompt], names: Sequence[str], decoding: Decoding, *, width: int = 64
) -> list[Answer]:
    """One answer for each context.

    Args:
        names: of the examples, which with the decoding's seed name their random streams.
        width: branches decoded together, at most.
    """
    branches = [Branch(seen, stream=(name, 1, "answer")) for seen, name in zip(contexts, names, strict=True)]
    return _answers(policy, branches, decoding, width)


def sample(
    policy: Policy,
    contexts: Sequence[EncodedPrompt],
    names: Sequence[str],
    decoding: Decoding,
    samples: int,
    *,
    width: int = 64,
) -> list[list[Answer]]:
    """Several answers for each context, each by its own random stream; one prefill of a context serves them all.

    Args:
        names: as for `write`.
        width: branches decoded together, at most.
    """
    branches = [
        Branch(seen, stream=(name, number, "sample"))
        for seen, name in zip(contexts, names, strict=True)
        for number in range(samples)
    ]
    answers = _answers(policy, branches, decoding, width)
    return [answers[start : start + samples] for start in range(0, len(answers), samples)]


def _answers(policy: Policy, branches: Sequence[Branch], decoding: Decoding, width: int) -> list[Answer]:
    texts, limit = Texts(policy), decoding.max_new_tokens
    return [answer_of(texts, ids, limit) for ids in decode(policy, branches, decoding, width=width)]
