"""Training steps over micro-batches of different sizes: one step, one loss and one log row, as of one large batch."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from mmpref.align.loss_weighting import SHARE, Amounts, Share, StepMeans, shares
from mmpref.align.trainer_mixin import Running
from mmpref.distributed import gather_uneven

_SUMS = ("num_tokens",)
"""What TRL logs as a sum over the whole training."""

_OVER_TOKENS = ("sft",)
"""TRL's losses that are means over all tokens of a batch."""


class Accumulating(Running):
    """Stands before `trl.DPOTrainer` in a class's bases. Its losses of a batch are multiplied by `of_pairs`."""

    loss_types: list[str]
    loss_weights: list[float]
    loss_is_scaled_for_ga = True
    """Trainer takes the losses of micro-batches as they are."""

    def set_up(self, *args: Any) -> None:
        super().set_up(*args)
        self._share: Share | None = None
        self._means = StepMeans()
        self._idle = False
        self._steps = self._taken = 0

    def pairs_of(self, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The micro-batches of a step as they are trained on; an empty one where there is no pair."""
        return batches

    def stand_in(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch to run where this process has no pair for one of the data and others have; nobody's gradients."""
        return batch

    @property
    def of_pairs(self) -> float:
        """What the mean over a batch's pairs counts for in its step."""
        return self._share.of_pairs if self._share else 1.0

    @contextlib.contextmanager
    def by_tokens(self) -> Iterator[None]:
        """Within it those of TRL's losses that are means over tokens count by their tokens, given that all are
        multiplied by `of_pairs`."""
        weights = self.loss_weights
        if (share := self._share) and share.of_pairs:
            ratio = share.of_tokens / share.of_pairs
            self.loss_weights = [
                weight * ratio if kind in _OVER_TOKENS else weight
                for kind, weight in zip(self.loss_types, weights, strict=True)
            ]
        try:
            yield
        finally:
            self.loss_weights = weights

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], None]:
        """Trainer's micro-batches of a step, each with its share in the step. Those without a pair in any process come
        first: gradients are exchanged with the last one."""
        given, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        batches = self.pairs_of(given) if given else []
        made = list(zip(batches, shares([Amounts.of(batch) if batch else Amounts() for batch in batches]), strict=True))
        for number, (batch, share) in enumerate(made):
            if not batch and any(share.sizes):  # the others wait for this process's gradients
                made[number] = self.stand_in(given[number]), share
        made.sort(key=lambda one: any(one[1].sizes))
        last = len(made) - 1
        return [
            {**batch, SHARE: replace(share, is_last=number == last)} for number, (batch, share) in enumerate(made)
        ], None

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """As Trainer's; the losses of a step's micro-batches sum up to the mean over all its pairs. One without a pair
        is not run, and a step without any changes nothing."""
        share: Share | None = inputs.pop(SHARE, None)
        if share is None:
            return super().training_step(model, inputs, *args, **kwargs)
        if share.is_last:
            self._idle = not share.step.pairs
            self._steps, self._taken = self._steps + 1, self._taken + (not self._idle)
        if not any(share.sizes):
            if share.is_last:  # accelerate's optimizer and its scaler of gradients then do nothing
                self.accelerator.gradient_state._set_sync_gradients(False)
            return torch.zeros((), device=self.args.device)
        logged, self._metrics["train"] = self._metrics["train"], defaultdict(list)
        self._share = share
        try:
            with gather_uneven(self.accelerator, share.sizes):
                return super().training_step(model, inputs, *args, **kwargs)
        finally:
            self._share = None
            said, self._metrics["train"] = self._metrics["train"], logged
            logged.update({name: said.pop(name) for name in _SUMS if name in said})
            self._means.add(said, share.whole)
            if share.is_last:
                for name, value in self._means.taken():
                    logged[name].append(value)

    def _clip_grad_norm(self, model: Any) -> Any:
        return 0.0 if self._idle else super()._clip_grad_norm(model)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return 0.0 if self._idle else super()._get_grad_norm(model, grad_norm=grad_norm)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL's; the loss is the mean over the steps that had pairs. Where none had any there is nothing to tell
        yet: what was counted is told with the next ones."""
        if "loss" in logs:
            steps, taken = self._steps, self._taken
            self._steps = self._taken = 0
            if steps and not taken:
                return
            logs["loss"] *= steps / max(1, taken)
            if self._idle:  # it is the last step's
                logs.pop("grad_norm", None)
        super().log(logs, start_time)

    def pending(self) -> dict[str, Any]:
        return {**super().pending(), "steps": self._steps, "taken": self._taken}

    def take_up(self, pending: dict[str, Any]) -> None:
        super().take_up(pending)
        self._steps, self._taken = pending.get("steps", 0), pending.get("taken", 0)
