"""Progress: a bar where somebody watches, in a terminal or a notebook, and nothing where nobody does."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from mmpref.types import Pair, Skip


class Progress:
    """A bar that appears once the work has taken a few seconds, if stderr is a terminal or a notebook shows it."""

    def __init__(self, unit: str, *, watched: bool = True) -> None:
        self._unit = unit
        self._watched = watched and somebody_watches()
        self._bar: Any = None
        self._pairs = self._resolved = 0

    def __enter__(self) -> Progress:
        from tqdm.auto import tqdm

        self._bar = tqdm(unit=f" {self._unit}", delay=3, disable=not self._watched, leave=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, count: int = 1) -> None:
        self._bar.update(count)

    def block(self, rows: int, outcomes: Sequence[Pair | Skip]) -> None:
        """A block of a dataset is done, of so many rows in all; shows the share of pairs that needed one try only."""
        tries = [outcome.iterations for outcome in outcomes if isinstance(outcome, Pair)]
        self._pairs += len(tries)
        self._resolved += sum(1 for value in tries if value == 1)
        self._bar.total = rows
        self._bar.update(len(outcomes))
        if self._pairs:
            self._bar.set_postfix_str(f"{self._resolved / self._pairs:.0%} resolved in try 1")

    def reach(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)


def somebody_watches() -> bool:
    """Whether stderr is a terminal, or a notebook shows it."""
    return sys.stderr.isatty() or in_notebook()


@contextlib.contextmanager
def library_bars(watched: bool = True) -> Iterator[None]:
    """Within it transformers and datasets draw their own bars only where somebody watches; they would draw them
    regardless.

    Args:
        watched: whether they may be drawn at all.
    """
    if watched and somebody_watches():
        yield
        return
    from datasets import utils as datasets
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging as transformers

    shown = transformers.is_progress_bar_enabled(), not datasets.are_progress_bars_disabled()
    hub_quiet = are_progress_bars_disabled()
    if shown[0]:
        transformers.disable_progress_bar()
    if shown[1]:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown[0]:
            transformers.enable_progress_bar()
            if hub_quiet:  # that switch is the Hub's too
                disable_progress_bars()
        if shown[1]:
            datasets.enable_progress_bars()


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config
