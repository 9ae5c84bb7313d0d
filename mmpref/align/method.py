"""The seam of alignment methods: a method is a loss (and later a pair source) on the one trainer.

A method is one file in `mmpref/align/methods` (or in a plugin's package under ``mmpref.methods``) with a module-level
``METHOD``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmpref.registry import Registry


@dataclass(frozen=True)
class Method:
    """A way of training on preference pairs.

    Args:
        settings: frozen dataclass of the method's settings, with defaults; the recipe's ``loss:`` block.
        trainer: TRL options that the settings stand for; they go into `trl.DPOConfig`.
        needs_annotator: whether pairs are ranked during training.
    """

    settings: type[Any]
    trainer: Callable[[Any], dict[str, Any]]
    needs_annotator: bool = False


METHODS: Registry[Method] = Registry("training method", "mmpref.methods", "METHOD")
