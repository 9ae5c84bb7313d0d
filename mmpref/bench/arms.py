"""An arm over its runs: how much of a difference is the seed, and how much the judge.

One run of a method is one draw of its seed. An arm is several evaluations of the same method, of adapters that were
trained with different seeds, by one judge or by each of several. What is estimated is the arm's mean over seeds and
images (`mmpref.bench.intervals`): its values, its difference from the base (within each run), and from the first arm.
Judges are not drawn from anything: a run's value is the mean over them, and how far they lie apart stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.bench.bootstrap import Interval, percentile_interval
from mmpref.bench.finished_model import FinishedModel, headlines, tested_models
from mmpref.bench.intervals import Estimate, estimate
from mmpref.bench.significance import holm
from mmpref.errors import InputError
from mmpref.log import counted
from mmpref.run.asked import Marks, every_mark
from mmpref.run.results import BASE, Key, Value
from mmpref.run.results_text import too_few_pairs

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ArmEffect:
    """A metric of an arm over its runs, or what it changes of it.

    Args:
        against: the base, or another arm; None of the arm's own value.
        key: without the judge.
        over_images: the same mean with its interval over images alone: of these very adapters.
        seeds, judges: how many.
        judge_deviation: standard deviation of the judges' means; NaN of one judge.
        p: two-sided, of no difference, over seeds and images; p_holm: corrected for all headline differences.
        marks: what stands behind the verdict.
    """

    arm: str
    against: str | None
    key: Key
    estimate: Estimate
    over_images: Interval
    seeds: int
    judges: int
    judge_deviation: float
    higher_is_better: bool | None
    headline: bool
    p: float | None = None
    p_holm: float | None = None
    marks: Marks = ()

    @property
    def seed_deviation(self) -> float:
        """Standard deviation of a run's value over seeds; NaN of one seed."""
        import statistics

        return statistics.stdev(self.estimate.of_units) if self.seeds > 1 else math.nan

    @property
    def seed_share(self) -> float:
        """How much of the variance of the mean is seed, from 0 to 1, the rest being images; NaN of one seed."""
        if self.seeds < 2 or not self.estimate.error:
            return math.nan
        return self.seed_deviation**2 / self.seeds / self.estimate.error**2

    def as_dict(self) -> dict[str, Any]:
        """As ``mmpref compare --json`` prints it; numbers that are undefined are null."""
        numbers = {
            **{name: getattr(self.estimate, name) for name in ("value", "low", "high")},
            "low_over_images": self.over_images.low,
            "high_over_images": self.over_images.high,
            "seed_deviation": self.seed_deviation,
            "seed_share": self.seed_share,
            "judge_deviation": self.judge_deviation,
        }
        return {
            **{"arm": self.arm, "against": self.against, **self.key._asdict()},
            **{"seeds": self.seeds, "judges": self.judges, "of_seeds": list(self.estimate.of_units)},
            **{name: None if math.isnan(number) else number for name, number in numbers.items()},
            **{"p": self.p, "p_holm": self.p_holm, "marks": self.marks},
        }


@dataclass(frozen=True)
class _Run:
    """One evaluation of an arm.

    Args:
        base: scored beside it; None where there is none.
        model: what the arm is about.
        identity: tells its adapter from others.
    """

    base: FinishedModel | None
    model: FinishedModel
    identity: str


Units = dict[str, dict[str, "np.ndarray"]]
"""Adapter -> judge -> float64 [1 + resamples]."""


def arm_effects(arms: Mapping[str, Sequence[Path]]) -> tuple[tuple[ArmEffect, ...], list[str]]:
    """What arms come to, and of what nothing can be said, in sentences.

    Args:
        arms: name -> folders of its evaluations.

    Raises:
        RunError: a folder is no finished run.
        InputError: a run of another command, an arm without runs, or the same adapter twice under one judge.
    """
    read = {name: _read(name, runs) for name, runs in arms.items()}
    effects: list[ArmEffect] = []
    warnings: list[str] = []
    for benchmark in dict.fromkeys(name for runs in read.values() for run in runs for name in run.model.benchmarks):
        first = next(run.model for runs in read.values() for run in runs if benchmark in run.model.benchmarks)
        made: dict[str, dict[Key, tuple[Units, Units, Value]]] = {}
        for name, runs in read.items():
            if odd := [run.model.name for run in runs if not _alike(first, run, benchmark)]:
                warnings.append(
                    f"{benchmark}: {', '.join(odd)} of the arm {name} did not answer the same samples in the same way "
                    f"as {first.name}, or kept no resamples; the arm is left out."
                )
                continue
            if few := [run.model.name for run in runs if _has_too_few_pairs(run, benchmark)]:
                warnings.append(
                    f"{benchmark}: more than a tenth of the pairs of {', '.join(few)} have no score of both models, "
                    f"too few for a verdict; the arm {name} is left out."
                )
                continue
            forms = _forms(runs, benchmark)
            warnings += [
                f"{key.name}: most answers of a run of the arm {name} could not be read: it measures their form, and "
                "is left out."
                for key, is_headline in forms.items()
                if is_headline
            ]
            made[name] = {key: of for key, of in _units(runs, benchmark).items() if key not in forms}
        for name, metrics in made.items():
            for key, (values, changes, value) in metrics.items():
                if len({frozenset(judges) for judges in values.values()}) > 1:
                    warnings.append(f"{key.name}: not every run of the arm {name} was judged by the same judges.")
                    continue
                effects.append(_effect(name, None, key, values, value))
                if len(changes) == len(values):
                    changed = _changed([(run.base, run.model) for run in read[name] if run.base], key)
                    effects.append(_effect(name, BASE, key, changes, value, changed))
        names = list(made)
        for other in names[1:]:
            effects += _between(names[0], other, made, read, warnings)
    return tuple(_marked(_corrected(effects), read)), warnings


def _read(name: str, runs: Sequence[Path]) -> list[_Run]:
    if not runs:
        raise InputError(f"The arm {name} has no runs.", "Write --arm NAME=RUN,RUN,...")
    found = []
    for path in runs:
        base, model = tested_models(path)
        facts = model.manifest.get("adapter" if base else "model") or {}
        identity = str(facts.get("weights") or facts.get("files") or f"{facts.get('id')}@{facts.get('revision')}")
        found.append(_Run(base, model, identity))
    seen: dict[tuple[str, frozenset[Key]], Path] = {}
    for run in found:
        known = seen.setdefault((run.identity, frozenset(run.model.values)), run.model.run)
        if known != run.model.run:
            raise InputError(
                f"{known} and {run.model.run} of the arm {name} are of the same model by the same judge.",
                "An arm's runs are of different seeds, or by different judges; name each once.",
            )
    return found


def _alike(first: FinishedModel, run: _Run, benchmark: str) -> bool:
    models = [model for model in (run.base, run.model) if model]
    return all(
        benchmark in model.benchmarks and first.pairs_with(model, benchmark) and model.resamples for model in models
    )


def _has_too_few_pairs(run: _Run, benchmark: str) -> bool:
    if run.base is None:
        return False
    changes = [run.model.change_from(run.base, key) for key in headlines([run.model]) if key.benchmark == benchmark]
    return any(change and too_few_pairs(len(change.pairs.kept), change.pairs.lost) for change in changes)


def _forms(runs: Iterable[_Run], benchmark: str) -> dict[Key, bool]:
    """Metrics that measure the form of answers in some run, and whether claims are made on them."""
    values = [value for run in runs for model in (run.base, run.model) if model for value in model.values.values()]
    return {value.key.unjudged: value.headline for value in values if value.benchmark == benchmark and value.is_form}


def _units(runs: Iterable[_Run], benchmark: str) -> dict[Key, tuple[Units, Units, Value]]:
    """Of each metric: values, changes from the base, and one of its results."""
    found: dict[Key, tuple[Units, Units, Value]] = {}
    for run in runs:
        for full, value in run.model.values.items():
            if full.benchmark != benchmark or full not in run.model.resamples:
                continue
            values, changes, _ = found.setdefault(full.unjudged, ({}, {}, value))
            values.setdefault(run.identity, {})[full.judge] = run.model.resamples[full]
            if run.base and full in run.base.resamples:
                change = run.model.resamples[full] - run.base.resamples[full]
                changes.setdefault(run.identity, {})[full.judge] = change
    return found


def _changed(pairs: Iterable[tuple[FinishedModel, FinishedModel]], key: Key) -> int:
    """On how many images any second model's counts are others than its first one's, each judge by itself."""
    images: set[str] = set()
    for first, second in pairs:
        for full in second.values:
            if full.unjudged == key and full in first.values:
                images |= second.changed_from(first, full)
    return len(images)


def _effect(
    arm: str, against: str | None, key: Key, units: Units, value: Value, changed: int | None = None
) -> ArmEffect:
    import numpy as np

    grid = np.stack([np.stack([judges[judge] for judge in sorted(judges)]) for judges in units.values()])
    of_seeds = grid.mean(1)  # [seeds, 1 + R]
    judge_means = grid[:, :, 0].mean(0)
    found = estimate(of_seeds, 0, changed)
    tested = against is not None and not math.isnan(found.value)
    p = None if not tested else (found.p_above(0.0) if found.value > 0 else found.p_below(0.0))
    return ArmEffect(
        arm,
        against,
        key,
        found,
        percentile_interval(of_seeds.mean(0)),
        len(grid),
        grid.shape[1],
        float(judge_means.std(ddof=1)) if len(judge_means) > 1 else math.nan,
        value.higher_is_better,
        value.headline,
        p,
    )


def _between(
    first: str,
    other: str,
    made: Mapping[str, Mapping[Key, tuple[Units, Units, Value]]],
    read: Mapping[str, Sequence[_Run]],
    warnings: list[str],
) -> list[ArmEffect]:
    """The other arm less the first one. Runs are paired in the order in which they are given: of seeds that have
    nothing in common that is one of many ways, each of which is right."""
    effects = []
    for key, (values, _, value) in made[other].items():
        if key not in made[first]:
            continue
        before = made[first][key][0]
        if [*map(sorted, before.values())] != [*map(sorted, values.values())]:
            warnings.append(
                f"{key.name}: {first} has {counted(len(before), 'run')} and {other} {len(values)}, or their judges "
                "differ; the two arms are not tested against each other."
            )
            continue
        units = {
            number: {judge: after[judge] - then[judge] for judge in after}
            for number, (then, after) in enumerate(zip(before.values(), values.values(), strict=True))
        }
        named = {str(number): judges for number, judges in units.items()}
        pairs = [(one.model, another.model) for one in read[first] for another in read[other]]
        effects.append(_effect(other, first, key, named, value, _changed(pairs, key)))
    return effects


def _marked(effects: Iterable[ArmEffect], read: Mapping[str, Sequence[_Run]]) -> list[ArmEffect]:
    """With the marks of the runs of both arms."""

    def marks(effect: ArmEffect) -> Marks:
        runs = [*read[effect.arm], *(read.get(effect.against, ()) if effect.against else ())]
        return every_mark(run.model.marks(effect.key.benchmark) for run in runs)

    return [replace(effect, marks=marks(effect)) for effect in effects]


def _corrected(effects: Sequence[ArmEffect]) -> list[ArmEffect]:
    """With Holm's correction over the differences of headline metrics."""
    claims = {index: effect.p for index, effect in enumerate(effects) if effect.headline and effect.p is not None}
    corrected = dict(zip(claims, holm([*claims.values()]), strict=True))
    return [replace(effect, p_holm=corrected.get(index)) for index, effect in enumerate(effects)]
