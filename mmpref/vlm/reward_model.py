"""A vision-language model that gives answers a value: a linear head on the hidden state of an answer's last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmpref.errors import ModelError
from mmpref.types import Message, ModelRef
from mmpref.vlm.adapters import HEAD, load_adapter
from mmpref.vlm.attention import Attention
from mmpref.vlm.encode import encode
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from mmpref.vlm.transfers import on_device

if TYPE_CHECKING:
    from PIL import Image

_BATCH = 8


def add_value_head(model: Any) -> None:
    """Give a transformers model a value head, fp32 [1, H], that says 0 of everything. PEFT trains and saves it in full
    where ``modules_to_save`` names it."""
    head = nn.Linear(model.config.get_text_config().hidden_size, 1, bias=False, device=model.device)
    nn.init.zeros_(head.weight)
    model.add_module(HEAD, head)


def values(model: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """Values [...] of last hidden states [..., H]."""
    head: Any = model.get_submodule(HEAD)
    values: torch.Tensor = head(hidden.float())[..., 0]
    return values


class RewardModel:
    """A trained reward model. Make one with `RewardModel.load`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._attention = Attention(policy)

    @classmethod
    def load(cls, ref: ModelRef, **options: Any) -> RewardModel:
        """Load a base with the adapter that ``mmpref train --method reward-model`` made.

        Args:
            options: of `mmpref.vlm.load.load_policy`.

        Raises:
            ModelError: as `load_policy`, or an adapter without a value head, or with one of zeros.
        """
        base = load_policy(ModelRef(ref.model, ref.revision), **options)
        add_value_head(base.model)
        adapted = load_adapter(base.model, replace(ref, revision=base.ref.revision))
        model = adapted.model
        if HEAD not in (model.peft_config["default"].modules_to_save or ()):
            raise ModelError(
                f"{ref.adapter} is no reward model: it has no value head.",
                "Train one with `mmpref train --method reward-model`.",
            )
        resolved = replace(ref, revision=base.ref.revision, adapter_revision=adapted.commit or ref.adapter_revision)
        policy = Policy(base.placement.move(model).eval(), base.processor, base.family, resolved, base.placement)
        policy.mended = base.mended
        head = policy.base_model.get_submodule(HEAD).modules_to_save["default"]
        if not head.weight.any():
            raise ModelError(f"The value head of {ref.adapter} is all zeros: every answer would be worth 0.")
        return cls(policy)

    @torch.inference_mode()
    def score(self, images: Sequence[Image.Image], prompt: Sequence[Message], answers: Sequence[str]) -> list[float]:
        """The value of each answer to a prompt; the image is encoded once.

        Args:
            prompt: turns that end with the user's, or in a context that the answers continue.
        """
        policy = self.policy
        [encoded] = encode(policy, [policy.prompter.prepare(prompt, images)])
        opening = policy.render(prompt, len(images))
        texts = [policy.render_answer(prompt, len(images), answer) for answer in answers]
        tokens = [policy.prompter.tokenize(opening, text).ids for text in texts]
        scores: list[float] = []
        for start in range(0, len(tokens), _BATCH):
            group = tokens[start : start + _BATCH]
            hidden, _ = self._attention.prefill([encoded] * len(group), group)
            ends = [[row, len(encoded.embeds) + len(answer) - 1] for row, answer in enumerate(group)]
            scores += values(policy.base_model, hidden[tuple(on_device(ends, hidden.device).T)]).tolist()
        return scores
