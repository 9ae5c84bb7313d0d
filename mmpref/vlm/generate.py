"""Prompts of a batch, prepared once. Those about the same images share their preprocessing, encoding and prefill.

Questions about one image differ behind it: what they have in common, image and all, goes through the model once, and
each goes on from there. A base and its adapters answer the same batch one after the other on the same features of the
vision tower, each through its own projector.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmpref.reasoning import Markers
from mmpref.vlm.detokenize import Texts
from mmpref.vlm.encode import encode
from mmpref.vlm.preprocess import Inputs
from mmpref.vlm.shared_prefix_pool import Branch, Decoding, decode
from mmpref.vlm.vision_tower import Features, Tower

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy, Request


@dataclass(frozen=True)
class _Group:
    """Prompts that begin alike.

    Args:
        inputs: of the first of them, as the model takes them.
        members: their numbers, and their token ids behind what they have in common.
    """

    inputs: Inputs
    members: list[tuple[int, tuple[int, ...]]]


@dataclass(frozen=True)
class Answer:
    """Args:
    text: without special tokens, but for those that were to be kept.
    cut: the bound on its length cut it off, before it came to an end of its own.
    """

    text: str
    cut: bool


class Asked:
    """A batch of requests to a policy.

    Args:
        requests: prompts whose images are the same objects are about the same images.
        again: more than one model of this base will answer: keep the vision tower's features.
    """

    def __init__(self, policy: Policy, requests: Sequence[Request], again: bool = False) -> None:
        self._policy, self._requests = policy, requests
        self._groups = [group for alike in _about_the_same(requests) for group in self._grouped(alike)]
        self._tower = Tower(policy) if again else None
        self._seen: list[Features] = []

    def answers(
        self,
        decoding: Decoding,
        *,
        hide_images: bool = False,
        width: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> list[str]:
        """The texts of `write`."""
        written = self.write(decoding, hide_images=hide_images, width=width, progress=progress)
        return [answer.text for answer in written]

    def write(
        self,
        decoding: Decoding,
        *,
        hide_images: bool = False,
        width: int = 64,
        known: Markers = (),
        progress: Callable[[int], None] | None = None,
    ) -> list[Answer]:
        """What the policy, as it is now, answers to each request, in order.

        Args:
            known: markers of reasoning that are to stay in the texts (`mmpref.vlm.detokenize`).
            hide_images: hide every image token from every other token, with their places in the prompt kept (BDHS with
                rho 1).
            width: answers written together, at most.
            progress: told of every answer.
        """
        branches: list[tuple[int, Branch]] = []
        runs = iter(range(len(self._groups)))
        contexts = encode(self._policy, [group.inputs for group in self._groups], look=lambda: self._look(next(runs)))
        for context, group in zip(contexts, self._groups, strict=True):
            behind = len(group.members[0][1])
            context = context.hidden() if hide_images else context
            common = context.until(context.end - behind) if behind else context
            branches += [
                (number, Branch(common, rest, self._requests[number].stream)) for number, rest in group.members
            ]
        tokens = decode(self._policy, [branch for _, branch in branches], decoding, width=width, progress=progress)
        text_of, answers = Texts(self._policy, known), [Answer("", False)] * len(branches)
        for (number, _), ids in zip(branches, tokens, strict=True):
            answers[number] = Answer(text_of(ids), len(ids) >= decoding.max_new_tokens)
        return answers

    def _grouped(self, numbers: Sequence[int]) -> list[_Group]:
        """Prompts about the same images, by what they have in common."""
        requests = [self._requests[number] for number in numbers]
        prepared = self._policy.prompter.prepare_all([one.messages for one in requests], requests[0].images)
        rows = [inputs["input_ids"][0] for inputs in prepared]
        family = self._policy.family
        if not (family.tested and family.shares_prefix and self._policy.causal_prompts and requests[0].images):
            return [_Group(inputs, [(number, ())]) for number, inputs in zip(numbers, prepared, strict=True)]
        groups: list[_Group] = []
        left = list(range(len(numbers)))
        while left:
            first = rows[left[0]]
            # One token of text behind the images at least: from there on positions are those of text.
            enough = int((first == self._policy.image_token_id).nonzero().max()) + 2
            common = {one: _common(first, rows[one]) for one in left}
            alike = [one for one in left if common[one] >= enough or one == left[0]]
            end = min(common[one] for one in alike)
            groups.append(_Group(prepared[left[0]], [(numbers[one], tuple(rows[one][end:].tolist())) for one in alike]))
            left = [one for one in left if one not in alike]
        return groups

    @contextlib.contextmanager
    def _look(self, run: int) -> Iterator[None]:
        """Around a run of the tower: the first model's is recorded, those of others are replayed."""
        if self._tower is None or not self._tower.known:
            yield
        elif run < len(self._seen):
            with self._tower.replayed([self._seen[run]]):
                yield
        else:
            with self._tower.recorded() as features:
                yield
            self._seen.append(features)


def _about_the_same(requests: Sequence[Request]) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault(tuple(map(id, request.images)), []).append(number)
    return list(groups.values())


def _common(left: torch.Tensor, right: torch.Tensor) -> int:
    """How many token ids two prompts begin with."""
    size = min(len(left), len(right))
    differ = (left[:size] != right[:size]).nonzero()
    return int(differ[0]) if len(differ) else size
