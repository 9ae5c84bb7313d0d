"""A reward model: the VLM with a value head, trained so that chosen answers have the higher value (Bradley-Terry).

-log sigmoid(r(chosen) - r(rejected)), r being a linear head on the last hidden state of the answer's last token. The
run says how often it is right on held-out pairs (the paper's table 7). `mmpref.vlm.value.RewardModel` loads it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.method import Method


@dataclass(frozen=True)
class Settings:
    """held_out: preference sets, ``NAME`` or ``NAME:SPLIT`` (train by default), on which accuracy is measured at the
    end, such as the ``validation`` split of the training data."""

    held_out: tuple[str, ...] = ()


METHOD = Method(Settings, lambda _: {}, rewards=True)
