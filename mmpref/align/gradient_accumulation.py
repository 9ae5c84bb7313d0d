"""Training steps over micro-batches of different sizes: one step, one loss and one log row, as of one large batch."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from mmpref.align.loss_weighting import LOSS_SHARE, BatchCounts, LossShare, StepMeans, loss_shares
from mmpref.align.trainer_mixin import ResumableTrainerMixin
from mmpref.distributed import gather_uneven

_RUNNING_SUMS = ("num_tokens",)
"""What TRL logs as a sum over the whole training."""

_TOKEN_MEAN_LOSSES = ("sft",)
"""TRL's losses that are means over all tokens of a batch."""


class GradientAccumulationMixin(ResumableTrainerMixin):
    """Stands before `trl.DPOTrainer` in a class's bases. Its losses of a batch are multiplied by `pair_weight`."""

    loss_types: list[str]
    loss_weights: list[float]
    loss_is_scaled_for_ga = True
    """Trainer takes the losses of micro-batches as they are."""

    def set_up(self, *args: Any) -> None:
        super().set_up(*args)
        self._share: LossShare | None = None
        self._means = StepMeans()
        self._is_empty_step = False
        self._steps = self._trained_steps = 0

    def sample_pairs(self, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The micro-batches of a step as they are trained on; an empty one where there is no pair."""
        return batches

    def placeholder_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch to run where this process has no pair for one of the data and others have; nobody's gradients."""
        return batch

    @property
    def pair_weight(self) -> float:
        """What the mean over a batch's pairs counts for in its step."""
        return self._share.pair_weight if self._share else 1.0

    @contextlib.contextmanager
    def weighting_by_tokens(self) -> Iterator[None]:
        """Within it those of TRL's losses that are means over tokens count by their tokens, given that all are
        multiplied by `pair_weight`."""
        weights = self.loss_weights
        if (share := self._share) and share.pair_weight:
            ratio = share.token_weight / share.pair_weight
            self.loss_weights = [
                weight * ratio if kind in _TOKEN_MEAN_LOSSES else weight
                for kind, weight in zip(self.loss_types, weights, strict=True)
            ]
        try:
            yield
        finally:
            self.loss_weights = weights

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], None]:
        """Trainer's micro-batches of a step, each with its share in the step. Those without a pair in any process come
        first: gradients are exchanged with the last one."""
        loaded, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        batches = self.sample_pairs(loaded) if loaded else []
        shares = loss_shares([BatchCounts.of(batch) if batch else BatchCounts() for batch in batches])
        for number, (batch, share) in enumerate(zip(batches, shares, strict=True)):
            if not batch and any(share.sizes):  # the others wait for this process's gradients
                batches[number] = self.placeholder_batch(loaded[number])
        shared = sorted(zip(batches, shares, strict=True), key=lambda pair: any(pair[1].sizes))
        last = len(shared) - 1
        return [
            {**batch, LOSS_SHARE: replace(share, is_last=number == last)}
            for number, (batch, share) in enumerate(shared)
        ], None

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """As Trainer's; the losses of a step's micro-batches sum up to the mean over all its pairs. One without a pair
        is not run, and a step without any changes nothing."""
        share: LossShare | None = inputs.pop(LOSS_SHARE, None)
        if share is None:
            return super().training_step(model, inputs, *args, **kwargs)
        if share.is_last:
            self._is_empty_step = not share.step.pairs
            self._steps, self._trained_steps = self._steps + 1, self._trained_steps + (not self._is_empty_step)
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
            metrics, self._metrics["train"] = self._metrics["train"], logged
            logged.update({name: metrics.pop(name) for name in _RUNNING_SUMS if name in metrics})
            self._means.add(metrics, share.total)
            if share.is_last:
                for name, value in self._means.pop():
                    logged[name].append(value)

    def _clip_grad_norm(self, model: Any) -> Any:
        return 0.0 if self._is_empty_step else super()._clip_grad_norm(model)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return 0.0 if self._is_empty_step else super()._get_grad_norm(model, grad_norm=grad_norm)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL's; the loss is the mean over the steps that had pairs. Where none had any there is nothing to tell
        yet: what was counted is logged with the next ones."""
        if "loss" in logs:
            steps, trained_steps = self._steps, self._trained_steps
            self._steps = self._trained_steps = 0
            if steps and not trained_steps:
                return
            logs["loss"] *= steps / max(1, trained_steps)
            if self._is_empty_step:  # it is the last step's
                logs.pop("grad_norm", None)
        super().log(logs, start_time)

    def pending_sums(self) -> dict[str, Any]:
        return {**super().pending_sums(), "steps": self._steps, "trained_steps": self._trained_steps}

    def load_pending_sums(self, pending: dict[str, Any]) -> None:
        super().load_pending_sums(pending)
        self._steps, self._trained_steps = pending["steps"], pending["trained_steps"]
