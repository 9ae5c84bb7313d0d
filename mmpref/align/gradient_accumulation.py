"""Training steps over micro-batches of different sizes: one step and one loss as of one large batch, and log rows in
which every pair weighs the same.

Every pair of an optimizer's step weighs the same, however the step is divided among micro-batches and processes.
Trainer takes a step's micro-batches for equally large, and so do its mean and TRL's of what is logged. They are not
where a source finds no pair for some rows, nor at the end of an epoch.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mmpref.align.collator import SECOND_BATCH
from mmpref.align.trainer_mixin import ResumableTrainerMixin
from mmpref.distributed import gather_object, gather_uneven, process_index
from mmpref.errors import RunError

LOSS_SHARE = "share"
"""Of a batch: its `Share`."""
_RUNNING_SUMS = ("num_tokens",)
"""What TRL logs as a sum over the whole training."""
_TOKEN_MEAN_LOSSES = ("sft",)
"""TRL's losses that are means over all tokens of a batch."""
_TOKEN_MEANS = {
    "entropy": ("chosen", "rejected"),
    "logits/chosen": ("chosen",),
    "logits/rejected": ("rejected",),
    "mean_token_accuracy": ("chosen",),
}
"""What TRL logs as a mean over tokens, and of which answers."""


@dataclass(frozen=True)
class BatchCounts:
    """What there is in a micro-batch or in a step.

    Args:
        pairs: how many.
        chosen: tokens of their chosen answers.
        rejected: tokens of their rejected answers: of each pair's first ones, and of the second ones, if there are.
    """

    pairs: int = 0
    chosen: int = 0
    rejected: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> BatchCounts:
        """Of a batch as the collator makes it."""
        masks = [part["completion_mask"] for part in (batch, batch.get(SECOND_BATCH)) if part is not None]
        chosen, rejected = zip(*(mask.sum(1).chunk(2) for mask in masks), strict=True)
        return cls(len(chosen[0]), int(chosen[0].sum()), tuple(int(tokens.sum()) for tokens in rejected))

    def weight(self, name: str, place: int) -> int:
        """What a logged mean is over.

        Args:
            place: of the value among those of this name: 1 where it is of the second rejected answers.
        """
        if name not in _TOKEN_MEANS:
            return self.pairs
        tokens = {"chosen": self.chosen, "rejected": self.rejected[min(place, len(self.rejected) - 1)]}
        return sum(tokens[which] for which in _TOKEN_MEANS[name])


def _total(counts: Sequence[BatchCounts]) -> BatchCounts:
    rejected = [count.rejected for count in counts if count.pairs] or [(0,)]
    return BatchCounts(
        sum(count.pairs for count in counts),
        sum(count.chosen for count in counts),
        tuple(map(sum, zip(*rejected, strict=True))),
    )


@dataclass(frozen=True)
class LossShare:
    """A process's part of a micro-batch in its step.

    Args:
        of_processes: what each process has of the micro-batch.
        step: what all of them have of the step.
        is_last: the step ends with this micro-batch.
    """

    of_processes: tuple[BatchCounts, ...]
    step: BatchCounts
    is_last: bool

    @property
    def sizes(self) -> list[int]:
        """Pairs of each process."""
        return [counts.pairs for counts in self.of_processes]

    @property
    def total(self) -> BatchCounts:
        """What there is in the micro-batch."""
        return _total(self.of_processes)

    @property
    def pair_weight(self) -> float:
        """What a mean over its pairs is multiplied by: the mean over processes of the sum over the step's micro-batches
        is that over all pairs of the step."""
        return self._own.pairs * len(self.of_processes) / max(1, self.step.pairs)

    @property
    def token_weight(self) -> float:
        """The same for a mean over the tokens of its chosen answers."""
        return self._own.chosen * len(self.of_processes) / max(1, self.step.chosen)

    @property
    def _own(self) -> BatchCounts:
        return self.of_processes[process_index()]


def loss_shares(own: Sequence[BatchCounts]) -> list[LossShare]:
    """The shares of the micro-batches of a step, of which every process has as many; all of them must ask."""
    columns = list(zip(*gather_object(list(own)), strict=True))
    step = _total([counts for column in columns for counts in column])
    return [LossShare(column, step, number == len(columns)) for number, column in enumerate(columns, 1)]


class RowMeans:
    """What is logged in a row: means over the pairs of its steps, or over their tokens, of what was logged of
    micro-batches; and its loss, which is the mean over all pairs as each step's is over its own.

    Attributes:
        pairs: of the steps so far, in all processes.
        loss: the mean over them of this process's losses, whose mean over processes is the row's.
    """

    def __init__(self) -> None:
        self._means: dict[tuple[str, int], tuple[float, int]] = {}
        self._of_step: torch.Tensor | float = 0.0
        self.loss: torch.Tensor | float = 0.0
        self.pairs = 0

    def add(self, logged: Mapping[str, Sequence[float]], counts: BatchCounts) -> None:
        """Add what was logged of a micro-batch.

        Args:
            counts: what was in it, in all processes.
        """
        for name, values in logged.items():
            for place, value in enumerate(values):
                if more := counts.weight(name, place):
                    mean, weight = self._means.get((name, place), (value, 0))
                    # A running mean: of a row that is one micro-batch it is the value itself, to the last bit.
                    self._means[name, place] = (mean + (value - mean) * more / (weight + more), weight + more)

    def add_loss(self, loss: torch.Tensor, share: LossShare) -> None:
        """Add the loss of a micro-batch; those of a step sum up to the step's."""
        self._of_step = self._of_step + loss.float()
        if share.is_last:
            self.pairs += share.step.pairs
            self.loss = self.loss + (self._of_step - self.loss) * (share.step.pairs / self.pairs)
            self._of_step = 0.0

    def values(self) -> list[tuple[str, float]]:
        """The row's values by their names."""
        return [(name, mean) for (name, _), (mean, _) in self._means.items()]

    def state(self) -> dict[str, Any]:
        """All of it between two steps, as plain values."""
        means = [[name, place, mean, weight] for (name, place), (mean, weight) in self._means.items()]
        return {"means": means, "loss": float(self.loss), "pairs": self.pairs}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RowMeans:
        """What gave that state."""
        made = cls()
        made._means = {(name, place): (mean, weight) for name, place, mean, weight in state["means"]}
        made.loss, made.pairs = state["loss"], state["pairs"]
        return made


class GradientAccumulationMixin(ResumableTrainerMixin):
    """Stands before `trl.DPOTrainer` in a class's bases. Its losses of a batch are multiplied by `pair_weight`."""

    loss_types: list[str]
    loss_weights: list[float]
    loss_is_scaled_for_ga = True
    """Trainer takes the losses of micro-batches as they are."""

    def set_up(self, *args: Any) -> None:
        super().set_up(*args)
        self._share: LossShare | None = None
        self._row = RowMeans()
        self._is_empty_step = False

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
        if not any(share.sizes):
            if share.is_last:  # accelerate's optimizer and its scaler of gradients then do nothing
                self.accelerator.gradient_state._set_sync_gradients(False)
            return torch.zeros((), device=self.args.device)
        logged, self._metrics["train"] = self._metrics["train"], defaultdict(list)
        self._share = share
        try:
            with gather_uneven(self.accelerator, share.sizes):
                loss = super().training_step(model, inputs, *args, **kwargs)
        finally:
            self._share = None
            metrics, self._metrics["train"] = self._metrics["train"], logged
            logged.update({name: metrics.pop(name) for name in _RUNNING_SUMS if name in metrics})
            self._row.add(metrics, share.total)
        self._row.add_loss(loss, share)
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        return 0.0 if self._is_empty_step else super()._clip_grad_norm(model)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return 0.0 if self._is_empty_step else super()._get_grad_norm(model, grad_norm=grad_norm)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL's, with how many ``pairs`` the row is of; each weighs the same, and Trainer's mean is over steps.
        Where there were none there is nothing to tell yet: what was counted is logged with the next ones."""
        if "loss" in logs:
            if not (row := self._row).pairs:
                return
            self._row = RowMeans()
            loss = torch.as_tensor(row.loss, device=self.args.device)
            logs |= {"loss": self.accelerator.gather(loss).mean().item(), "pairs": row.pairs}
            for name, value in row.values():
                self._metrics["train"][name].append(value)
            if self._is_empty_step:  # it is the last step's
                logs.pop("grad_norm", None)
        super().log(logs, start_time)

    def pending_sums(self) -> dict[str, Any]:
        return {**super().pending_sums(), "row": self._row.state()}

    def load_pending_sums(self, pending: dict[str, Any]) -> None:
        if "row" not in pending:
            raise RunError(
                "This training was begun by an earlier mmpref, which summed its log otherwise.",
                "End it with that one, or choose another --output.",
            )
        super().load_pending_sums(pending)
        self._row = RowMeans.from_state(pending["row"])
