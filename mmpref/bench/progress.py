"""How far an evaluation is: answers, and a judge's replies, over all of its benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

OnProgress = Callable[[int, int, str], None]
"""Told how many are done, of how many, and the label of the benchmark at work."""


class Counter:
    """Counts what is done, benchmark by benchmark.

    Args:
        sizes: of each benchmark, by label in the order of the work, how many answers and replies there will be.
        tell: is told of each batch that is done, and not before the first: a model is loaded for that.
    """

    def __init__(self, sizes: Mapping[str, int], tell: OnProgress | None) -> None:
        self._sizes, self._tell = sizes, tell
        self._total, self._done = sum(sizes.values()), 0
        self._label, self._end = "", 0

    def begin(self, label: str, left: int) -> None:
        """The next benchmark is at work. All up to its end counts as done but what is left: what an earlier start of
        the run did of it, and what benchmarks before it did not need, such as replies about answers that need no judge.

        Args:
            left: how many answers and replies are still to come.
        """
        self._end += self._sizes[label]
        self._done, self._label = self._end - left, label

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done = min(self._done + count, self._end)
        if self._tell:
            self._tell(self._done, self._total, self._label)
