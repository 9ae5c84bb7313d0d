"""Effects of rows, from a study's ledger: what a row changes of a metric against another row, or the base.

An effect is the mean over base models of (the row's metric less the other's), each metric being made of sums of counts
over the images, by the benchmark's own `Metric.value`, and averaged over training seeds. Rows are paired: on the same
base models, and on the same draws of images. **Base models and images are random**: an effect with its interval speaks
of other bases of the same making and of other images of the same kind. Training seeds are nested in bases, so that what
they vary by is in what bases vary by. How the interval is made, and how far it is to be trusted with few bases, says
`mmpref.bench.intervals`. With one base it speaks of that base alone, over training seeds (where there are several) and
images; with one base and one seed over images alone. `Effect.scope` says which.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import CountKey, Metric
from mmpref.bench.intervals import Estimate, estimate, image_draws
from mmpref.log import counted
from mmpref.run.asked import TRAINED_ON
from mmpref.run.results import Key
from mmpref.run.results_text import FORM, MOST_LOST, interval_text
from mmpref.study.count_metrics import CountSums, metrics_of
from mmpref.study.measurement import Measurement
from mmpref.study.plan_types import Plan

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Effect:
    """What a row changes of a metric; of a row by itself, its value.

    Args:
        against: the row that it is compared with; None for a value.
        split: name of the evaluation.
        bases: seeds of the base models that it is over.
        seeds: the fewest and the most training seeds a base, of the row and of what it is compared with if that is
            trained.
        images: on how many images.
        higher_is_better: None where neither is.
        trained_on: some of the images are among those that an adapter of it was trained on.
        is_form: most answers of a run could not be read: it measures their form then, not what they say.
    """

    row: str
    against: str | None
    split: str
    key: Key
    estimate: Estimate
    bases: tuple[int, ...]
    seeds: tuple[int, int]
    images: int
    higher_is_better: bool | None
    trained_on: bool = False
    is_form: bool = False

    @property
    def value(self) -> float:
        return self.estimate.value

    @property
    def low(self) -> float:
        return self.estimate.low

    @property
    def high(self) -> float:
        return self.estimate.high

    @property
    def off_zero(self) -> bool:
        """Whether the interval excludes 0, and enough images changed for that to be evidence."""
        return self.estimate.off_zero

    @property
    def better(self) -> bool | None:
        """Whether the row is better than what it is compared with; None where that cannot be said: to be better on
        images of its training is no good news, and the form of answers is neither."""
        if self.higher_is_better is None or not self.off_zero or self.is_form:
            return None
        better = (self.value > 0) == self.higher_is_better
        return None if better and self.trained_on else better

    @property
    def of_content(self) -> Estimate:
        """What verdicts go by: nothing of the form of answers."""
        return replace(self.estimate, value=math.nan) if self.is_form else self.estimate

    @property
    def scope(self) -> str:
        """What the interval is over."""
        if len(self.bases) > 1:
            return "over bases and images"
        of = "over training seeds and images" if len(self.estimate.of_units) > 1 else "over images alone"
        return f"{of}, of one base"

    @property
    def number(self) -> str:
        """How many bases, seeds and images."""
        return f"{self.runs}, {counted(self.images, 'image')}"

    @property
    def runs(self) -> str:
        """How many bases and seeds."""
        return f"{counted(len(self.bases), 'base')} x {spread(self.seeds, 'seed')}"

    @property
    def base_range(self) -> tuple[float, float]:
        """The lowest and the highest mean of a base (of a seed, where there is one base)."""
        return min(self.estimate.of_units), max(self.estimate.of_units)

    def text(self) -> str:
        """``value [low, high]``, a difference with its sign; with its marks."""
        digits = 3 if abs(self.value) < 2 else 2 if abs(self.value) < 20 else 1
        text = interval_text(self.value, self.low, self.high, signed=self.against is not None, digits=digits)
        return " ".join((text, *self.marks))

    @property
    def marks(self) -> list[str]:
        """What stands behind the number, where images are of its training, or where it measures the form of answers."""
        return [TRAINED_ON] * self.trained_on + [f"({FORM})"] * self.is_form


class Effects:
    """All effects that a ledger knows; what is asked twice is computed once.

    Args:
        measurements: of one study; points of its grids take no part.
        seed: of all draws.
    """

    def __init__(self, plan: Plan, measurements: Sequence[Measurement], seed: int = 0) -> None:
        self.plan, self.seed = plan, seed
        self._runs: dict[tuple[str, str], dict[int, dict[int, Measurement]]] = {}
        for one in measurements:
            if not one.is_grid_point and one.row in plan.rows:
                self._runs.setdefault((one.row, one.split), {}).setdefault(one.base, {})[one.seed] = one
        self.warnings: list[str] = []
        """Runs that cannot be compared with the others, and are left out."""
        self._answered: dict[tuple[str, str, str], np.ndarray] = {}
        self._leave_out_other_images()
        self._draws = lru_cache(maxsize=4)(self._draw)
        self._sums = lru_cache(maxsize=32)(self._sum)
        self._replicates = lru_cache(maxsize=4096)(self._replicate)
        self._effects = lru_cache(maxsize=None)(self._effect)
        self._metrics: dict[tuple[str, str], dict[Key, Metric]] = {}

    def base_of(self, row: str) -> str | None:
        """The row that trains nothing, of the same world."""
        base = self.plan.base_of(row)
        return base.name if base else None

    def splits(self) -> list[str]:
        """Evaluations of rows that were measured, in the plan's order."""
        measured = {
            split for (row, split), runs in self._runs.items() if runs and split in self.plan.rows[row].evaluate
        }
        return [split for split in self.plan.evaluate if split in measured]

    def rows(self, split: str) -> list[str]:
        """Rows that were measured there, in the plan's order."""
        return [name for name in self.plan.rows if self._runs.get((name, split))]

    def runs(self, row: str, split: str) -> list[Measurement]:
        """What was measured of a row, by base and seed."""
        bases = self._runs.get((row, split), {})
        return [bases[base][seed] for base in sorted(bases) for seed in sorted(bases[base])]

    def every_run(self, row: str) -> list[Measurement]:
        """Those of a row on whatever they were measured."""
        return [one for name, split in self._runs if name == row for one in self.runs(row, split)]

    def keys(self, split: str) -> list[Key]:
        """Every metric that was measured there."""
        found = (
            one
            for (_, at), bases in self._runs.items()
            if at == split
            for seeds in bases.values()
            for one in seeds.values()
        )
        return list(dict.fromkeys(value.key for one in found for value in one.values))

    def asked(self, key: Key, split: str) -> Key | None:
        """What was measured there under a key; a judged metric may be asked for without its judge.

        Returns:
            The key with its judge; of several judges' the first. None where no run has such a metric.
        """
        keys = self.keys(split)
        return key if key in keys else next((one for one in keys if one.unjudged == key), None)

    def value(self, row: str, key: Key, split: str) -> Effect | None:
        """A row's own value, with its interval; None where it was not measured."""
        found = self.asked(key, split)
        return self._effects(row, None, found, split) if found else None

    def difference(self, row: str, against: str, key: Key, split: str) -> Effect | None:
        """The row less the other; None where they have no base in common that both were measured on."""
        found = self.asked(key, split)
        return self._effects(row, against, found, split) if found else None

    def _effect(self, row: str, against: str | None, key: Key, split: str) -> Effect | None:
        import numpy as np

        if against and self._world(row) != self._world(against):  # other bases, and it may be other images
            return None
        cells = [self._cells(name, key, split) for name in (row, *([against] if against else []))]
        bases = sorted(set.intersection(*map(set, cells)))
        metric = self._metric(key, split) if bases else None
        images = int(self._answered[self._world(row), split, key.benchmark].sum()) if metric else 0
        if metric is None or not images:  # a run without a single usable answer leaves nothing to compare on
            return None
        per_base = [self._of_base([each[base] for each in cells], [row, against], base, key, split) for base in bases]
        seeds = [len(cells[place][base]) for place in self._trained(row, against) for base in bases]
        units = per_base[0] if len(bases) == 1 else np.stack([of_base.mean(0) for of_base in per_base])
        runs = [
            self._runs[name, split][base][seed]
            for name, of_bases in zip((row, against), cells, strict=False)
            if name
            for base in bases
            for seed in of_bases[base]
        ]
        return Effect(
            row,
            against,
            split,
            key,
            estimate(units, self.seed, self._changed(runs, metric, key.benchmark) if against else None),
            tuple(bases),
            (min(seeds), max(seeds)),
            images,
            metric.higher_is_better,
            any(one.trained_on.get(key.benchmark) for one in runs),
            any(value.is_form for one in runs if (value := one.value(key))),
        )

    def _changed(self, runs: Sequence[Measurement], metric: Metric, benchmark: str) -> int:
        """On how many images some runs on one base differ in the counts that a metric is made of."""
        import numpy as np

        answered = self._answered[self._world(runs[0].row), runs[0].split, benchmark]
        differ = np.zeros(int(answered.sum()), bool)
        first: dict[int, np.ndarray] = {}
        for one in runs:
            counts = one.counts[benchmark]
            names = metric.of or counts.names
            sums = np.stack([counts.of(str(name))[answered] for name in names], 1)
            differ |= (sums != first.setdefault(one.base, sums)).any(1)
        return int(differ.sum())

    def _trained(self, row: str, against: str | None) -> list[int]:
        """Which of a row (0) and what it is compared with (1) have training seeds; the row in any case."""
        names = [row, *([against] if against else [])]
        return [place for place, name in enumerate(names) if self.plan.rows[name].train] or [0]

    def _world(self, row: str) -> str:
        return self.plan.rows[row].world

    def _cells(self, row: str, key: Key, split: str) -> dict[int, list[int]]:
        """Bases -> seeds of which the metric is known, and the counts that it is of."""
        bases = self._runs.get((row, split), {})
        cells = {
            base: sorted(seed for seed, one in seeds.items() if one.value(key) and key.benchmark in one.counts)
            for base, seeds in bases.items()
        }
        return {base: seeds for base, seeds in cells.items() if seeds}

    def _of_base(
        self, seeds: Sequence[Sequence[int]], rows: Sequence[str | None], base: int, key: Key, split: str
    ) -> np.ndarray:
        """[units, 1 + R] of one base: a unit for each seed of rows that have the same ones, or against the base itself;
        else one of the means, which knows nothing of how far seeds of the row that has fewer lie apart."""
        import numpy as np

        of_rows = [
            np.stack([self._replicates(str(row), split, base, seed, key) for seed in each])
            for row, each in zip(rows, seeds, strict=False)
        ]
        if len(of_rows) == 1:
            return of_rows[0]
        first, second = of_rows
        if list(seeds[0]) == list(seeds[1]) or len(self._trained(*map(str, rows))) == 1:
            return first - second
        difference: np.ndarray = first.mean(0, keepdims=True) - second.mean(0, keepdims=True)
        return difference

    def _replicate(self, row: str, split: str, base: int, seed: int, key: Key) -> np.ndarray:
        """float64 [1 + R] of one run's metric; NaN in resamples that have nothing that it is over."""
        import numpy as np

        metric, sums = self._metric(key, split), self._sums(row, split, base, seed, key.benchmark)
        assert metric is not None
        values = np.broadcast_to(np.asarray(metric.value(sums), float), len(sums.totals))
        return np.where(sums[metric.n] > 0, values, np.nan)

    def _sum(self, row: str, split: str, base: int, seed: int, benchmark: str) -> CountSums:
        counts = self._runs[row, split][base][seed].counts[benchmark]
        answered = self._answered[self._world(row), split, benchmark]
        draws = self._draws(int(answered.sum()))
        return CountSums(counts.names, draws @ counts.sums[answered].astype(float))

    def _draw(self, images: int) -> np.ndarray:
        return image_draws(self.seed, images).astype(float)

    def _metric(self, key: Key, split: str) -> Metric | None:
        """The benchmark's own metric; None where it makes none such of the counts.

        Raises:
            UsageError: no such benchmark, or settings that it does not have.
        """
        where = split, key.benchmark
        if where not in self._metrics:
            runs = [
                one
                for (_, at), bases in self._runs.items()
                if at == split
                for seeds in bases.values()
                for one in seeds.values()
                if key.benchmark in one.counts
            ]
            parts = {value.key.part for one in runs for value in one.values if value.key.benchmark == key.benchmark}
            names = {name for one in runs for name in one.counts[key.benchmark].names}
            counts = [CountKey.read(name, parts) for name in sorted(names)]
            self._metrics[where] = metrics_of(self.plan, split, key.benchmark, counts)
        return self._metrics[where].get(key.unjudged)

    def _leave_out_other_images(self) -> None:
        """Keep what is on the images that most runs of a world are on, of these runs those that have a score of nearly
        all questions, and of the images those of which every run has a score of all."""
        import numpy as np

        runs: dict[tuple[str, str, str], list[Measurement]] = {}
        for (row, split), bases in self._runs.items():
            for one in (one for seeds in bases.values() for one in seeds.values()):
                for benchmark in one.counts:
                    runs.setdefault((self._world(row), split, benchmark), []).append(one)
        for (world, split, benchmark), measured in runs.items():
            hashes = [one.counts[benchmark].images for one in measured]
            usual = max(dict.fromkeys(hashes), key=hashes.count)
            kept: list[np.ndarray] = []
            for one in measured:
                scored = np.asarray(one.counts[benchmark].sums.any(axis=1))
                if one.counts[benchmark].images != usual:
                    self._leave_out(one, f"it is on other images of {benchmark} than most runs")
                elif (lost := int((~scored).sum())) > MOST_LOST * len(scored):
                    said = (
                        f"it lacks the score of a question on {lost} of {counted(len(scored), 'image')} of {benchmark}"
                    )
                    self._leave_out(one, said)
                else:
                    kept.append(scored)
            self._answered[world, split, benchmark] = np.all(kept, axis=0) if kept else np.zeros(0, bool)

    def _leave_out(self, one: Measurement, why: str) -> None:
        seeds = self._runs[one.row, one.split].get(one.base, {})
        seeds.pop(one.seed, None)
        if not seeds:
            self._runs[one.row, one.split].pop(one.base, None)
        self.warnings.append(f"{one.name} is left out: {why}.")


def spread(numbers: Sequence[int], what: str) -> str:
    """From the fewest to the most, with their noun: ``1 to 3 seeds``."""
    fewest, most = min(numbers), max(numbers)
    return f"{fewest} to {counted(most, what)}" if fewest < most else counted(most, what)
