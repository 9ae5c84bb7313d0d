"""How far the work is: a bar where somebody watches, in a terminal or a notebook; elsewhere a log line now and then."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from mmpref.log import duration, logger, somebody_watches
from mmpref.types import Pair, Skip

_LINE_SECONDS, _LINE_SHARE = 30.0, 0.1
"""A log line comes after so many seconds, or so large a share of the time so far: ten hours have some sixty of them."""


class Progress:
    """How much is done, of how much, and how much time is left.

    A bar shows it from the first news on, so that what was done before (the loading of a model, an earlier session)
    does not count as work; log lines stand above it. Where neither a terminal nor a notebook is, `mmpref.log.logger` is
    told now and then.

    Args:
        unit: what is counted, in the plural.
        watched: whether anybody is told anything.
    """

    def __init__(self, unit: str, *, watched: bool = True) -> None:
        self._unit, self._watched = unit, watched
        self._bar: Any = None
        self._lines: _Lines | None = None
        self._above = contextlib.ExitStack()
        self._rows = self._pairs = self._resolved = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def reach(self, done: int, total: int | None = None, what: str = "") -> None:
        """So many of so many are done.

        Args:
            total: None where nobody knows.
            what: is at work.
        """
        if not self._watched:
            return
        if not somebody_watches():
            self._lines = self._lines or _Lines(self._unit, done)
            self._lines.tell(done, total, what)
            return
        if self._bar is None:
            self._bar = _new_bar(self._unit, done, total)
            self._above.enter_context(_logging_above_bars())
        self._bar.total = total
        self._bar.set_description(what or None, refresh=False)
        self._bar.update(done - self._bar.n)
        if done == total:
            self._close()

    def block(self, rows: int, outcomes: Sequence[Pair | Skip]) -> None:
        """A block of a dataset is done, of so many rows in all; shows the share of pairs that needed one try only."""
        tries = [outcome.iterations for outcome in outcomes if isinstance(outcome, Pair)]
        self._rows += len(outcomes)
        self._pairs += len(tries)
        self._resolved += sum(1 for value in tries if value == 1)
        share = f"{self._resolved / self._pairs:.0%} resolved in try 1" if self._pairs else ""
        self.reach(self._rows, rows, share)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._above.close()


class _Lines:
    """Log lines, ever more seldom.

    Args:
        done: how many were done before.
    """

    def __init__(self, unit: str, done: int) -> None:
        self._unit, self._before = unit, done
        self._begun = self._told = time.monotonic()

    def tell(self, done: int, total: int | None, what: str) -> None:
        now = time.monotonic()
        elapsed = now - self._begun
        if now - self._told < max(_LINE_SECONDS, _LINE_SHARE * elapsed) or done == total:
            return
        self._told = now
        new, of = done - self._before, "" if total is None else f" of {total}"
        left = f", {duration(elapsed / new * (total - done))} left" if total is not None and new > 0 else ""
        logger.info("%s%d%s %s%s.", f"{what}: " if what else "", done, of, self._unit, left)


def _new_bar(unit: str, done: int, total: int | None) -> Any:
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # of a notebook without widgets, which gets a bar of text
        from tqdm.auto import tqdm

    return tqdm(initial=done, total=total, unit=f" {unit}", leave=False, dynamic_ncols=True)


@contextlib.contextmanager
def _logging_above_bars() -> Iterator[None]:
    """Within it a line that the command line's logger writes stands above a bar, not behind it."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        yield  # nobody reads the log here, and tqdm would begin to
        return
    with logging_redirect_tqdm([logger]):
        yield


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
