"""A reference that is a copy of what is trained: as the policy began, or renewed every so many steps."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from mmpref.align.summary import unmoved_reference
from mmpref.distributed import process_index
from mmpref.log import logger


class CopiedReference(TrainerCallback):
    """The policy as it began, or as it was some steps ago: TR-DPO's hard update (arXiv 2404.09656, section 3). TRL's
    callback wants a second whole model and refuses LoRA, whose products cannot be mixed as a soft update mixes weights;
    a copy of them is exact. So is the reference of full fine-tuning, and of a training that goes on from an adapter.

    Args:
        parameters: those that are trained, by name, of the model that is policy and reference.
        every: steps after which the reference becomes the policy as it is then. Before, and where it is None always, it
            is the policy as it began.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], every: int | None = None) -> None:
        self._parameters, self.every = dict(parameters), every
        self._weights = self._copy()

    def _copy(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        unmoved = self.every and unmoved_reference(self.every, state.max_steps)
        if unmoved and not process_index():
            logger.warning("Warning: %s", unmoved)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.every and state.global_step % self.every == 0:
            self._weights = self._copy()

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the model computes as the reference. Its parameters stay the objects that they are."""
        policy = {name: parameter.data for name, parameter in self._parameters.items()}
        try:
            self._put(self._weights)
            yield
        finally:
            self._put(policy)

    def _put(self, weights: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.data = weights[name]

    def save(self, path: Path) -> None:
        """Write it, where it moves; one that stays is what the model is loaded as."""
        if self.every is None:
            return
        save_file({name: value.contiguous() for name, value in self._weights.items()}, path)

    def load(self, path: Path) -> None:
        """Go on with the reference that `save` wrote."""
        if self.every is None:
            return
        saved = load_file(path)
        self._weights = {name: saved[name].to(value.device) for name, value in self._weights.items()}


def without_weights_of_its_own(model: torch.nn.Module) -> torch.nn.Module:
    """A model that shares all parameters with this one. TRL would load another as the reference, and keep it."""
    return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
