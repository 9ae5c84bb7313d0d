"""The seam of training methods: which loss the one trainer computes, and where its pairs come from.

A method is one file in `mmpref/align/methods` (or in a plugin's package under the entry-point group
``mmpref.methods``) with a module-level ``METHOD``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.registry import Registry

if TYPE_CHECKING:
    from mmpref.align.losses import Terms
    from mmpref.align.pairs import PairSource, SourceContext


@dataclass(frozen=True)
class Method:
    """A training method.

    Args:
        settings: frozen dataclass of the loss's and the pair source's settings, with defaults; the recipe's ``loss:``
            block.
        trainer: makes the options of `trl.DPOConfig` that the settings stand for. They are the method's: a recipe
            cannot set them again in its ``trainer:`` block.
        source: makes, from the current policy, the pairs that a step trains on; None for those of the data.
        rewards: it trains a reward model: a value head, and no policy.
        needs_second: rows must have a second rejected answer (``rejected_policy``).
        keeps_answers: the source leaves the answers of the data as they are, so that what the reference says of them is
            asked once.
        terms: makes more of the loss than TRL's losses over pairs, from log-ratios [B] of policy to reference of the
            chosen answer under the images and under parts of them, to terms by name.
        weights: of the losses against the rejected answer, and against the second one where there are two.
        needs_annotator: somebody ranks answers during training (``--annotator``).
    """

    settings: type[Any]
    trainer: Callable[[Any], dict[str, Any]]
    rewards: bool = False
    needs_second: bool = False
    needs_annotator: bool = False
    keeps_answers: bool = False
    weights: Callable[[Any], tuple[float, ...]] = lambda _: (1.0,)
    terms: Callable[[Any], Terms] | None = None
    source: Callable[[SourceContext, Any], PairSource] | None = None


METHODS: Registry[Method] = Registry("training method", "mmpref.methods", "METHOD")
