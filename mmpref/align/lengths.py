"""How long rows are, in tokens: an even sample of the data, and the rows that look longest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.align.collator import BESIDE
from mmpref.tables.conversations import SECOND

if TYPE_CHECKING:
    from mmpref.align.preference_data import Pairs
    from mmpref.align.trainer_mixin import Running
    from mmpref.vlm.policy import Policy

_EVEN, _LONG = 32, 16
"""Rows that are looked at: of an even sample, and of each of the longest texts and the largest image files."""


@dataclass(frozen=True)
class Length:
    """A row's number, and its tokens.

    Args:
        image: those of its images.
        whole: prompt, images and the longest of its answers.
    """

    row: int
    image: int
    whole: int


def measured(trainer: Running, policy: Policy, pairs: Pairs) -> list[Length]:
    """Some of the rows, the longest first."""
    found = []
    for row in sorted(_looked_at(pairs)):
        batch = trainer.collate([pairs.dataset[row]])
        image = int((batch["input_ids"][0] == policy.image_token_id).sum())
        masks = [one["attention_mask"] for one in (batch, batch.get(BESIDE)) if one is not None]
        found.append(Length(row, image, max(int(mask.sum(dim=1).max()) for mask in masks)))
    return sorted(found, key=lambda length: -length.whole)


def _looked_at(pairs: Pairs) -> set[int]:
    import numpy as np
    import pyarrow.compute as pc

    data, rows = pairs.dataset.data, len(pairs.dataset)

    def characters(name: str) -> np.ndarray:
        return pc.utf8_length(data.column(name)).to_numpy()

    answers = [characters(name) for name in ("chosen", "rejected", SECOND) if name in data.column_names]
    texts = characters("prompt") + np.max(answers, axis=0)
    files = pc.binary_length(pc.list_flatten(data.column("images"))).to_numpy()
    counts = pc.list_value_length(data.column("images")).to_numpy()  # of each row at least 1
    images = np.add.reduceat(files, np.cumsum(counts) - counts)
    even = {index * rows // min(rows, _EVEN) for index in range(min(rows, _EVEN))}
    return even.union(*(np.argsort(-sizes, kind="stable")[:_LONG].tolist() for sizes in (texts, images)))
