"""Answers of a policy to requests: batches, the pool that decodes them, and what prompts about one image share.

Questions about one image differ behind it: what they have in common, image and all, goes through the model once, and
each goes on from there. A base and its adapters answer the same batch one after the other on the same features of the
vision tower, each through its own projector.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.reasoning import Markers
from mmpref.types import Message
from mmpref.vlm.branches import Branch, DecodingPool
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.detokenize import Detokenizer
from mmpref.vlm.encode import encode
from mmpref.vlm.preprocess import Inputs
from mmpref.vlm.shared_prefix_pool import SharedPrefixPool, common_length
from mmpref.vlm.transformers_pool import TransformersPool
from mmpref.vlm.vision_tower import Features, VisionTower

if TYPE_CHECKING:
    from PIL import Image

    from mmpref.vlm.policy import Policy


@dataclass(frozen=True)
class Request:
    """One prompt to answer.

    Args:
        messages: turns that end with the user's; images belong to the first user turn.
        images: decoded, RGB; of a request that has been prepared they only tell which others are about the same.
        stream: names of its random stream, where sampling is asked for.
        prepared: what the processor made of it, where that was done ahead.
    """

    messages: tuple[Message, ...]
    images: tuple[Image.Image, ...]
    stream: tuple[str | int, ...] = ()
    prepared: Inputs | None = None


@dataclass(frozen=True)
class Answer:
    """What a policy wrote.

    Args:
        text: without special tokens, but for those that were to be kept.
        cut: the bound on its length cut it off, before it came to an end of its own.
        error: why there is none, where it was asked of a server.
    """

    text: str
    cut: bool
    error: str = ""


def generate(
    policy: Policy,
    requests: Sequence[Request],
    decoding: Decoding,
    *,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
    hide_images: bool = False,
) -> list[str]:
    """Answer every request, order kept; answers do not depend on the batch size. Arguments as
    `PromptBatch.generate`."""
    answers: list[Answer] = []
    for start in range(0, len(requests), batch_size):
        batch = PromptBatch(policy, requests[start : start + batch_size])
        answers += batch.generate(decoding, hide_images=hide_images, width=batch_size, progress=progress)
    return [answer.text for answer in answers]


def decode(
    policy: Policy,
    branches: Sequence[Branch],
    decoding: Decoding,
    *,
    width: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Decode every branch; the token ids that each one generated, without the end-of-sequence token, in order.

    Args:
        width: branches decoded together, at most.
        progress: called with 1 for every branch that has ended.
    """
    pool = decoding_pool(policy, decoding, width)
    pool.add(branches)
    results: list[list[int]] = [[] for _ in branches]
    for number, tokens in pool:
        results[number] = tokens
        if progress:
            progress(1)
    return results


def decoding_pool(policy: Policy, decoding: Decoding, width: int = 64) -> DecodingPool:
    """The pool that decodes for this policy: sharing prefixes, unless its family cannot."""
    pool = SharedPrefixPool if policy.family.shares_prefix else TransformersPool
    return pool(policy, decoding, width)


@dataclass(frozen=True)
class _SharedPrefix:
    """Prompts that begin alike.

    Args:
        inputs: of the first of them, as the model takes them.
        rests: their numbers, and their token ids behind what they have in common.
    """

    inputs: Inputs
    rests: list[tuple[int, tuple[int, ...]]]


class PromptBatch:
    """A batch of requests to a policy, preprocessed once. Those about the same images share preprocessing, encoding and
    prefill.

    Args:
        requests: prompts whose images are the same objects are about the same images.
        reuse_features: more than one model of this base will answer: keep the vision tower's features.

    Raises:
        ImageError: the processor does not take the images of a request.
    """

    def __init__(self, policy: Policy, requests: Sequence[Request], reuse_features: bool = False) -> None:
        self._policy, self._requests = policy, requests
        self._groups = [group for numbers in _by_images(requests) for group in self._by_prefix(numbers)]
        self._tower = VisionTower(policy) if reuse_features else None
        self._features: list[Features] = []

    def generate(
        self,
        decoding: Decoding,
        *,
        hide_images: bool = False,
        width: int = 64,
        keep_markers: Markers = (),
        progress: Callable[[int], None] | None = None,
    ) -> list[Answer]:
        """What the policy, as it is now, answers to each request, in order.

        Args:
            keep_markers: markers of reasoning that are to stay in the texts (`mmpref.vlm.detokenize`).
            hide_images: hide every image token from every other token, with their places in the prompt kept (BDHS with
                rho 1).
            width: answers written together, at most.
            progress: called with 1 for every answer.
        """
        branches: list[tuple[int, Branch]] = []
        runs = iter(range(len(self._groups)))
        prompts = encode(
            self._policy, [group.inputs for group in self._groups], around_run=lambda: self._tower_run(next(runs))
        )
        for prompt, group in zip(prompts, self._groups, strict=True):
            behind = len(group.rests[0][1])
            prompt = prompt.without_images() if hide_images else prompt
            shared = prompt.first(len(prompt.embeds) - behind) if behind else prompt
            branches += [(number, Branch(shared, rest, self._requests[number].stream)) for number, rest in group.rests]
        tokens = decode(self._policy, [branch for _, branch in branches], decoding, width=width, progress=progress)
        detokenize, answers = Detokenizer(self._policy, keep_markers), [Answer("", False)] * len(branches)
        for (number, _), ids in zip(branches, tokens, strict=True):
            answers[number] = Answer(detokenize(ids), len(ids) >= decoding.max_new_tokens)
        return answers

    def _by_prefix(self, numbers: Sequence[int]) -> list[_SharedPrefix]:
        """Prompts about the same images, by what they have in common."""
        requests = [self._requests[number] for number in numbers]
        prepared = [request.prepared for request in requests if request.prepared is not None]
        if not prepared:
            prepared = self._policy.prompter.prepare_all([request.messages for request in requests], requests[0].images)
        rows = [inputs["input_ids"][0].tolist() for inputs in prepared]
        family = self._policy.family
        if not (family.tested and family.shares_prefix and self._policy.causal_prompts and requests[0].images):
            return [_SharedPrefix(inputs, [(number, ())]) for number, inputs in zip(numbers, prepared, strict=True)]
        groups: list[_SharedPrefix] = []
        left = list(range(len(numbers)))
        while left:
            first = rows[left[0]]
            # One token of text behind the images at least: from there on positions are those of text.
            least = max(place for place, token in enumerate(first) if token == self._policy.image_token_id) + 2
            common = {index: common_length(first, rows[index]) for index in left}
            alike = [index for index in left if common[index] >= least or index == left[0]]
            end = min(common[index] for index in alike)
            rests = [(numbers[index], tuple(rows[index][end:])) for index in alike]
            groups.append(_SharedPrefix(prepared[left[0]], rests))
            left = [index for index in left if index not in alike]
        return groups

    @contextlib.contextmanager
    def _tower_run(self, run: int) -> Iterator[None]:
        """Around a run of the tower: the first model's is recorded, those of others are replayed."""
        if self._tower is None or not self._tower.is_supported:
            yield
        elif run < len(self._features):
            with self._tower.replay([self._features[run]]):
                yield
        else:
            with self._tower.record() as features:
                yield
            self._features.append(features)


def _by_images(requests: Sequence[Request]) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault(tuple(map(id, request.images)), []).append(number)
    return list(groups.values())
