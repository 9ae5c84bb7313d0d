"""Any task of lmms-eval, named lmms-eval:TASK, asked through our policy and scored by its own code.

Whether something else got worse is asked of the field's own tasks (MMMU, ScienceQA, ChartQA, ...). Base and adapter,
resumption, intervals, pairs and cards are ours, prompts, filters, scores and aggregations are lmms-eval's, at its
installed version; results are called ``lmms-eval.TASK`` and never bear the name of a benchmark of ours.

A metric that is a mean of numbers is resampled by sums. Of any other, an aggregation of whatever its scores are, the
scores are resampled and aggregated anew, which takes as many calls of it as there are resamples.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import Benchmark, BenchmarkSettings, CountKey, Metric, Sample, Score, rate
from mmpref.bench.cells import images_key
from mmpref.bench.lmms_eval_task import HarnessTask, Question, load_task, refuse_absent
from mmpref.errors import InputError, UsageError
from mmpref.recipes.names import names
from mmpref.recipes.schema import OPTIONAL
from mmpref.run.results import ALL
from mmpref.tables.table import Table
from mmpref.types import Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums

MOST = 10_000
"""Questions of a task whose aggregation is not a mean: each is resampled as one of its own."""
_TRIED = 12
"""Draws of which a metric is the mean over single scores, as far as it can be seen, before it is taken for that."""
_ROUNDED = 1e-4
"""What rounding may add, of the largest single score: some give shares by five places, some points of 100 by two."""


@dataclass(frozen=True)
class Settings(BenchmarkSettings):
    """Of a task of lmms-eval, whose data, configuration and split are its own.

    Args:
        include: folder of task files of your own, as lmms-eval's ``--include_path``.
        max_new_tokens: of an answer; by default the task's own.
    """

    split: str = ""
    include: str | None = field(default=None, metadata=OPTIONAL | names("path"))
    max_new_tokens: int | None = None


class LmmsEvalTask:
    """A task as a benchmark; it is loaded when it is first asked for something."""

    def __init__(self, name: str | None, settings: Settings) -> None:
        if name is None:
            raise UsageError("lmms-eval is no benchmark but many.", "Name a task: --benchmark=lmms-eval:mmmu_val")
        refuse_absent()
        own = [key for key in ("data", "config", "split", "columns", "image_root") if getattr(settings, key)]
        if own:
            raise UsageError(
                f"The data of lmms-eval's task {name} are its own, so that {own[0]} cannot be set.",
                f"Write a task file of your own and name its folder: --set benchmark.lmms-eval:{name}.include=FOLDER",
            )
        self.name, self.settings = name, settings
        self._values: dict[bytes, np.ndarray] = {}

    @property
    def _own(self) -> HarnessTask:
        return load_task(self.name, self.settings.include)

    @property
    def max_new_tokens(self) -> int:
        return self.settings.max_new_tokens or self._own.max_new_tokens

    def table(self) -> Table:
        """Its rows, which are read by lmms-eval itself."""
        own = self._own
        return Table(own.data, own.split, own.revision, own.fingerprint, None, lambda: iter(()))

    def decided_by(self) -> dict[str, Any]:
        """What its scores depend on beside its settings: the judge that its own code asks."""
        judge = self._own.judge
        return {} if judge is None else {"judge": judge}

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = [_sample(question) for question in self._own.questions(limit)]
        whole = [metric for metric in self._own.higher_is_better if not self._own.is_mean(metric)]
        if whole and len(samples) > MOST:
            raise InputError(
                f"{whole[0]} of lmms-eval's task {self.name} is no mean, and cannot be resampled over "
                f"{len(samples)} questions.",
                f"Use --limit, of at most {MOST}.",
            )
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        for stop in sample.reference["stops"]:
            answer = answer.partition(stop)[0]
        counts: dict[CountKey | str, float] = {}
        found = self._own.scores(int(sample.id), answer)
        for metric, item in found.by_metric.items():
            counts[CountKey(metric, "n")] = 1.0
            if found.unjudged:
                continue
            if self._is_mean(metric):
                counts[CountKey(metric, "sum")] = float(item)
            else:
                counts[CountKey(metric, f"{int(sample.id):07d} {_kept(item, metric)}")] = 1.0
        parsed = "" if found.unjudged else str(next(iter(found.by_metric.values()), ""))
        return Score(parsed, counts, unjudged=found.unjudged)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        keys = {key for score in scores for key in score.counts if isinstance(key, CountKey)}
        higher = self._own.higher_is_better
        scored = {key.part for key in keys}
        ordered = sorted(scored, key=lambda metric: [*higher].index(metric.partition(",")[0]))
        made: list[Metric] = []
        for metric in ordered:
            better, headline = higher[metric.partition(",")[0]], not made
            if self._is_mean(metric):
                top = CountKey(metric, "sum")
                binary = {value for score in scores for key, value in score.counts.items() if key == top} <= {0.0, 1.0}
                made.append(rate(metric, ALL, top, CountKey(metric, "n"), better, binary=binary, headline=headline))
            else:
                value = partial(self._aggregated, metric)
                made.append(Metric(metric, ALL, value, CountKey(metric, "n"), better, headline=headline))
        return made

    def _is_mean(self, metric: str) -> bool:
        return self._own.is_mean(metric.partition(",")[0])

    def _aggregated(self, metric: str, sums: Sums) -> np.ndarray:
        """The task's own aggregation, of the scores as often as they were drawn."""
        import numpy as np

        keys = sorted(key for key in sums if isinstance(key, CountKey) and key.part == metric and " " in key.name)
        drawn = np.stack([np.atleast_1d(np.asarray(sums[key], int)) for key in keys])
        digest = hashlib.sha256(repr(keys).encode() + drawn.tobytes()).digest()
        if digest not in self._values:  # a value and its resamples are asked for apart
            items = [ast.literal_eval(key.name.partition(" ")[2]) for key in keys]
            self._values[digest] = self._aggregate(metric, items, drawn)
        return self._values[digest]

    def _aggregate(self, metric: str, items: Sequence[Any], drawn: np.ndarray) -> np.ndarray:
        """float64 [draws]: the metric of items drawn so often, int64 [items, draws].

        Where it is the mean of what it is of each item alone, as `_TRIED` draws show, the others are such means: an
        aggregation may take seconds.

        Raises:
            InputError: the same scores give another value when they are aggregated again.
        """
        import numpy as np

        def value(column: np.ndarray) -> float:
            rows: list[int] = np.repeat(np.arange(len(items)), column).tolist()
            return self._own.value(metric, [copy.copy(items[row]) for row in rows]) if rows else math.nan

        columns = drawn.T
        values = np.full(len(columns), math.nan)
        values[0] = value(columns[0])
        if math.isnan(values[0]):  # such as a file that is to be handed in
            return values
        if value(columns[0]) != values[0]:
            raise InputError(
                f"The metric {metric} of lmms-eval's task {self.name} is another one when it is made again of the same "
                "scores, so that it has no interval."
            )
        tried = min(_TRIED, len(columns))
        values[1:tried] = [value(column) for column in columns[1:tried]]
        alone = self._alone(metric, items)
        if len(alone) == len(items):
            total = drawn.sum(0)
            means = np.divide(alone @ drawn, total, out=np.full(len(total), math.nan), where=total > 0)
            most = _ROUNDED * float(np.abs(alone).max())
            if np.allclose(means[:tried], values[:tried], rtol=0, atol=most, equal_nan=True):
                return np.concatenate([values[:tried], means[tried:]])
        values[tried:] = [value(column) for column in columns[tried:]]
        return values

    def _alone(self, metric: str, items: Sequence[Any]) -> np.ndarray:
        """float64 [items]: the metric of each item alone; only of those before the first of which it is undefined."""
        import numpy as np

        values: list[float] = []
        for item in items:
            try:
                value = self._own.value(metric, [copy.copy(item)])
            except InputError:
                break
            if math.isnan(value):
                break
            values.append(value)
        return np.asarray(values, float)


def _sample(question: Question) -> Sample:
    image, *further = question.images or (None,)
    image_id = images_key(question.images, question.number) if image else f"question {question.number}"
    reference = {"target": question.target, "stops": list(question.stops), "images": len(question.images)}
    messages = (Message("user", question.text),)
    return Sample(str(question.number), image_id, image, messages, reference, further_images=tuple(further))


def _kept(item: Any, metric: str) -> str:
    """A score as text that is read back as the very same.

    Raises:
        InputError: it is more than numbers, text and collections of these.
    """
    plain = _plain(item)
    text = repr(plain)
    try:
        if ast.literal_eval(text) == plain:
            return text
    except (ValueError, SyntaxError):
        pass
    raise InputError(f"The scores of {metric} are no plain values ({type(item).__name__}), and cannot be resampled.")


def _plain(item: Any) -> Any:
    """Without numpy's types."""
    if isinstance(item, dict):
        return {_plain(key): _plain(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return type(item)(_plain(each) for each in item)
    return item.item() if hasattr(item, "item") and getattr(item, "ndim", 1) == 0 else item


def member(name: str | None) -> Benchmark:
    """The benchmark of one task."""
    return Benchmark(
        settings=Settings,
        candidates=(),
        task=lambda settings: LmmsEvalTask(name, settings),
        opens=lambda settings: LmmsEvalTask(name, settings).table(),
        brings_data=True,
        foreign=True,
        decided_by=lambda settings: LmmsEvalTask(name, settings).decided_by(),
    )


BENCHMARK = member(None)
