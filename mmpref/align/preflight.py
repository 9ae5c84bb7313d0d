"""The longest batch once before the first step: too little memory is told at once, with the row that needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import TrainerCallback

from mmpref.errors import RunError, is_out_of_memory, reason_of
from mmpref.log import logger

if TYPE_CHECKING:
    from mmpref.align.lengths import Length
    from mmpref.align.preference_data import Pairs
    from mmpref.align.trainer_mixin import Running

When = Literal["auto", "always", "never"]


class Preflight(TrainerCallback):
    """Runs the longest rows of the data forward and backward when training begins, and takes no step.

    Where answers are drawn while training, the data's stand in for them.

    Args:
        longest: rows of the data, the longest first.
        when: whether to; ``auto`` on accelerators only, where memory is what is short.
    """

    def __init__(self, trainer: Running, pairs: Pairs, longest: Sequence[Length], when: When) -> None:
        self._trainer, self._pairs, self._when = trainer, pairs, when
        self._longest = longest[: trainer.args.per_device_train_batch_size]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        device = self._trainer.accelerator.device
        if self._when == "never" or (self._when == "auto" and device.type == "cpu"):
            return
        try:
            reason = self._trainer.rehearse([self._pairs.dataset[length.row] for length in self._longest])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise self._refusal(device, error) from error
        if reason:
            logger.info("No pre-flight: %s.", reason)
        elif device.type == "cuda":
            peak, whole = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
            logger.info("The longest batch fits: %.1f of %.1f GiB.", peak / 2**30, whole / 2**30)
        else:
            logger.info("The longest batch fits.")

    def _refusal(self, device: torch.device, error: Exception) -> RunError:
        first, rows = self._longest[0], len(self._longest)
        ways = [
            *(["a smaller trainer.per_device_train_batch_size"] if rows > 1 else []),
            *([] if self._trainer.args.gradient_checkpointing else ["trainer.gradient_checkpointing=true"]),
            "smaller images",
        ]
        return RunError(
            f"The memory of {device} does not suffice for a step on the {rows} longest rows. The longest is "
            f"{self._pairs.where(first.row)}, of {first.whole} tokens, {first.image} of them its images': "
            f"{reason_of(error)}.",
            f"Try {' or '.join(ways)}. To train without this check: --set preflight=never",
        )
