"""How long rows are, and the longest batch once before the first step: too little memory is said at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import TrainerCallback

from mmpref.align.collator import SECOND_BATCH
from mmpref.errors import RunError, is_out_of_memory, reason_of
from mmpref.log import logger
from mmpref.tables.rows import REJECTED_POLICY

if TYPE_CHECKING:
    from mmpref.align.preference_data import Pairs
    from mmpref.align.trainer_mixin import ResumableTrainerMixin
    from mmpref.vlm.policy import Policy

When = Literal["auto", "always", "never"]


_EVENLY_SPACED, _LONGEST = 32, 16
"""Rows that are measured: of an even sample, and of each of the longest texts and the largest image files."""


@dataclass(frozen=True)
class RowLength:
    """A row's number, and its tokens.

    Args:
        image: those of its images.
        total: prompt, images and the longest of its answers.
    """

    row: int
    image: int
    total: int


def measure_lengths(trainer: ResumableTrainerMixin, policy: Policy, pairs: Pairs) -> list[RowLength]:
    """Some of the rows, the longest first."""
    lengths: list[RowLength] = []
    measured, at_once = sorted(_rows_to_measure(pairs)), trainer.args.per_device_train_batch_size
    for begin in range(0, len(measured), at_once):  # one by one takes longer, and more than a step takes more memory
        rows = measured[begin : begin + at_once]
        batch = trainer.collate([pairs.dataset[row] for row in rows])
        images = (batch["input_ids"][: len(rows)] == policy.image_token_id).sum(dim=1).tolist()
        parts = [part for part in (batch, batch.get(SECOND_BATCH)) if part is not None]
        answers = torch.cat([part["attention_mask"].sum(dim=1).view(-1, len(rows)) for part in parts])
        lengths += map(RowLength, rows, images, answers.amax(dim=0).tolist())
    return sorted(lengths, key=lambda length: -length.total)


def _rows_to_measure(pairs: Pairs) -> set[int]:
    import numpy as np
    import pyarrow.compute as pc

    data, rows = pairs.dataset.data, len(pairs.dataset)

    def sums(column: str, size: Callable[[Any], Any]) -> np.ndarray:
        lists = data.column(column)
        counts = pc.list_value_length(lists).to_numpy()  # of each row at least 1
        return np.add.reduceat(size(pc.list_flatten(lists)).to_numpy(), np.cumsum(counts) - counts)

    def characters(column: str) -> np.ndarray:
        return sums(column, lambda messages: pc.utf8_length(pc.struct_field(messages, "content")))

    answers = [characters(name) for name in ("chosen", "rejected", REJECTED_POLICY) if name in data.column_names]
    texts = characters("prompt") + np.max(answers, axis=0)
    images = sums("images", pc.binary_length)
    even = {index * rows // min(rows, _EVENLY_SPACED) for index in range(min(rows, _EVENLY_SPACED))}
    return even.union(*(np.argsort(-sizes, kind="stable")[:_LONGEST].tolist() for sizes in (texts, images)))


class Preflight(TrainerCallback):
    """Runs the longest rows of the data forward and backward when training begins, and takes no step.

    Where answers are sampled while training, the data's stand in for them.

    Args:
        longest: rows of the data, the longest first.
        when: whether to; ``auto`` on accelerators only, where memory is what is short.
    """

    def __init__(self, trainer: ResumableTrainerMixin, pairs: Pairs, longest: Sequence[RowLength], when: When) -> None:
        self._trainer, self._pairs, self._when = trainer, pairs, when
        self._longest_rows = longest[: trainer.args.per_device_train_batch_size]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        device = self._trainer.accelerator.device
        if self._when == "never" or (self._when == "auto" and device.type == "cpu"):
            return
        try:
            reason = self._trainer.try_step([self._pairs.dataset[length.row] for length in self._longest_rows])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise self._refusal(device, error) from error
        if reason:
            logger.info("No pre-flight: %s.", reason)
        elif device.type == "cuda":
            peak, total = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
            logger.info("The longest batch fits: %.1f of %.1f GiB.", peak / 2**30, total / 2**30)
        else:
            logger.info("The longest batch fits.")

    def _refusal(self, device: torch.device, error: Exception) -> RunError:
        first, rows = self._longest_rows[0], len(self._longest_rows)
        remedies = [
            *([f"--batch-size={rows // 2}"] if rows > 1 else []),
            *([] if self._trainer.args.gradient_checkpointing else ["--set trainer.gradient_checkpointing=true"]),
            "smaller images",
        ]
        return RunError(
            f"The memory of {device} does not suffice for a step on the {rows} longest rows. The longest is "
            f"{self._pairs.where(first.row)}, of {first.total} tokens, {first.image} of them its images': "
            f"{reason_of(error)}.",
            f"Try {' or '.join(remedies)}. To train without this check: --set preflight=never",
        )
