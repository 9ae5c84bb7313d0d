"""The seam of dataset builders: examples in, pairs and skips out, one closed block at a time.

A builder is one file in `mmpref/data/builders` (or in a plugin's package under the entry-point group
``mmpref.builders``) with a module-level ``BUILDER``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmpref.data.schema import Reader
from mmpref.registry import Registry
from mmpref.tables.table import Origin
from mmpref.types import Example, ModelRef, Pair, Skip

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

SAME = "same-as-chosen"
"""Reason of a skip: the rejected answer came out equal to the chosen one."""
CUT_OFF = "cut-off"
"""Reason of a skip: a bound on length cut the answer off, so that a pair would teach to stop anywhere."""


class BlockWorker(Protocol):
    """Turns one block of consecutive examples into pairs. A block is the unit of determinism and of restart:
    the same block gives the same result whatever was done before it in the process.

    It may have three more methods: ``begin(block)``, told of the next block while the one before is in work, so that it
    can preprocess ahead, ``notes()``, what it has counted since it was last asked (the run adds these up and
    reports them), and ``close()``, called at the end.
    """

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        """One `Pair` or `Skip` for every example, in order."""
        ...


@dataclass(frozen=True)
class Context:
    """What a builder may use. Models load on first use, so that a finished run needs none.

    Args:
        policy: loads the run's model (cached by the caller).
        model: which model that is; None for a method that uses none.
        seed: the run's seed; draw from (seed, example id, ...) only.
        workers: processes that preprocess images ahead of the model; None leaves it to `preprocessors`.
        annotator: who is asked, where the method asks somebody.
        concurrency: requests to an endpoint in flight at a time.
    """

    policy: Callable[[], Policy]
    model: ModelRef | None
    seed: int
    workers: int | None = None
    annotator: str | None = None
    concurrency: int = 8

    def preprocessors(self, device: str) -> int:
        """How many processes should preprocess ahead: as asked for, else none where the model needs the cores itself,
        and up to 8 beside an accelerator."""
        if self.workers is not None:
            return self.workers
        return 0 if device == "cpu" else max(1, min(8, (os.cpu_count() or 2) - 1))


@dataclass(frozen=True)
class Builder:
    """A method of making preference data.

    Args:
        config: gives the frozen dataclass of the settings (the recipe's ``builder:`` block); called when it is needed,
            so that naming builders loads no torch.
        worker: makes the block worker from a context and a config instance.
        uses_model: whether a model writes or judges anything; where not, the recipe has none and none is loaded.
        needs_annotator: whether somebody ranks, rewrites or checks answers (``--annotator``).
        writes_chosen: whether the chosen answers are the method's too, not the source's.
        needs_pairs: whether it takes the source's own rejected answers, so that a source without any is of no use.
        origin: where the method's own source is published; a recipe without a source reads that.
        reader: makes, from a config instance and the run's seed, what turns the source's rows as they were published
            into rows of `mmpref.data.schema`; without one they must be of its shapes already.
    """

    config: Callable[[], type[Any]]
    worker: Callable[[Context, Any], BlockWorker]
    uses_model: bool = True
    needs_annotator: bool = False
    writes_chosen: bool = False
    needs_pairs: bool = False
    origin: Origin | None = None
    reader: Callable[[Any, int], Reader] | None = None


BUILDERS: Registry[Builder] = Registry("dataset method", "mmpref.builders", "BUILDER")
