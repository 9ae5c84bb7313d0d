"""Whole answers of a policy in this process, decoded in one pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.reasoning import read
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.detokenize import Detokenizer
from mmpref.vlm.encode import encode
from mmpref.vlm.generate import Answer, decode
from mmpref.vlm.preprocessing_pool import PreprocessingPool

if TYPE_CHECKING:
    from mmpref.types import Example
    from mmpref.vlm.encode import EncodedPrompt
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.writer import Noise


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
        names: as for `generate_answers`.
        width: branches decoded together, at most.
    """
    branches = [
        Branch(prompt, stream=(name, number, "sample"))
        for prompt, name in zip(prompts, names, strict=True)
        for number in range(samples)
    ]
    answers = _answers(policy, branches, decoding, width)
    return [answers[start : start + samples] for start in range(0, len(answers), samples)]


class LocalWriter:
    """A policy as `mmpref.vlm.writer.Writer`.

    Args:
        width: answers decoded together, at most.
        workers: processes that preprocess images ahead of the model.
    """

    def __init__(self, policy: Policy, *, width: int = 64, workers: int = 0) -> None:
        self._policy, self._width = policy, width
        self._ahead = PreprocessingPool(policy.prompter, workers)

    @property
    def works_ahead(self) -> bool:
        return self._ahead.workers > 0

    def begin(self, examples: Sequence[Example]) -> None:
        self._ahead.begin(examples)

    def generate(self, examples: Sequence[Example], decoding: Decoding, noise: Noise | None = None) -> list[Answer]:
        names = [example.id for example in examples]
        return generate_answers(self._policy, self._encode(examples, noise), names, decoding, width=self._width)

    def sample(self, examples: Sequence[Example], decoding: Decoding, samples: int) -> list[list[Answer]]:
        names = [example.id for example in examples]
        return sample_answers(self._policy, self._encode(examples), names, decoding, samples, width=self._width)

    def notes(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        self._ahead.close()

    def _encode(self, examples: Sequence[Example], noise: Noise | None = None) -> list[EncodedPrompt]:
        return encode(self._policy, [self._ahead(example) for example in examples], noise) if examples else []


def _answers(policy: Policy, branches: Sequence[Branch], decoding: Decoding, width: int) -> list[Answer]:
    detokenize, limit = Detokenizer(policy), decoding.max_new_tokens
    return [answer_of(detokenize, ids, limit) for ids in decode(policy, branches, decoding, width=width)]
