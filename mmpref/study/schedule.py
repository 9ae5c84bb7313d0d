"""What of a study is to be done next: the most telling first, each only when what it needs is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmpref.errors import MmprefError
from mmpref.study.base_weights import BaseWeights
from mmpref.study.choice import Choice, choose, points
from mmpref.study.grid import Grid
from mmpref.study.measurement import Failure, Ledger, Measurement
from mmpref.study.plan_types import Plan, Row
from mmpref.study.steps import BASE, PAIRS, Composer, Job, Step
from mmpref.study.targets import Target, targets


@dataclass(frozen=True)
class Unit:
    """Something that one process does: a step, or some evaluations of a job whose steps are done.

    Args:
        key: unique in the study.
        splits: of the job that are not measured yet.
    """

    key: str
    step: Step | None = None
    job: Job | None = None
    splits: tuple[str, ...] = ()

    @property
    def holds(self) -> set[str]:
        """What no other unit may work on meanwhile: rows of equal settings have their evaluations in one folder."""
        return {self.key} | ({self.job.hashes[split] for split in self.splits} if self.job else set())


class _Blocked(Exception):
    """Others must end first."""


class _Broken(Exception):
    """What it needs has failed."""


class Schedule:
    """The state of a study: what the ledger has, what is being done, what has failed.

    Args:
        folder: of the study; its ledger is read once.
        rows: names of those that are wanted.
    """

    def __init__(self, plan: Plan, folder: Path, rows: Sequence[str]) -> None:
        self.plan, self.folder = plan, folder
        self.ledger = Ledger(folder / "ledger")
        self.composer = Composer(plan, folder)
        self._base_weights = BaseWeights(self.ledger)
        self.targets = targets(plan, rows)
        self.failures: dict[str, Failure] = {}
        """By name, of this session."""
        self._measured = {one.name: one for one in Ledger.read(self.ledger.folder)}
        self._busy: set[str] = set()
        self._failed: dict[str, str] = {}
        self._choices: dict[str, Choice] = {}
        self._jobs: dict[Target, Job] = {}
        self._grids: dict[str, list[Job]] = {}
        self._settled: set[Target] = set()
        self._settle_old_failures()

    def next(self) -> Unit | None:
        """The first unit that can be done now; it is taken to be at work until `finished` or `failed` is told."""
        for target in self.targets:
            if target in self._settled:
                continue
            try:
                unit = self._unit(target)
            except _Blocked:
                continue
            except _Broken as broken:
                unit = None
                self._record_failure(Failure(target.row, target.base, target.seed, {}, False, str(broken)))
            if unit:
                self._busy |= unit.holds
                return unit
            self._settled.add(target)
        return None

    def finished(self, unit: Unit, measured: Sequence[Measurement] = (), images: Iterable[list[str]] = ()) -> None:
        """A unit is done: keep what it has measured."""
        self._busy -= unit.holds
        for number, one in enumerate(measured):
            self.ledger.write(one, images if number == 0 else ())
            self._measured[one.name] = one

    def failed(self, unit: Unit, reason: str) -> None:
        """A unit has failed: so have the runs that need it."""
        self._busy -= unit.holds
        self._failed[unit.key] = reason
        if job := unit.job:
            self._record_failure(_failure(job, reason))

    def measured(self) -> list[Measurement]:
        """What the ledger has of this plan: of its rows, by the recipes that it has now; grids' points too."""
        jobs = [job for target in self.targets if (job := self.job(target))]
        for name, row in self.plan.rows.items():
            if row.grid and name in self._choices:
                jobs += self._grid_with_base(name)
        unique = {job.name: job for job in jobs}.values()
        return [one for job in unique for split in job.hashes if (one := self._lookup(job, split))]

    def stale(self) -> list[Measurement]:
        """What the ledger has, and no run or point of a grid of the plan as it stands gives."""
        current = {one.name for one in self.measured()}
        for name in filter(self.has_points, self.plan.rows):
            for job in self._grid_with_base(name) if self.known_grid_jobs(name) else ():
                current |= {one.name for split in job.hashes if (one := self._lookup(job, split))}
        return [one for one in self._measured.values() if one.name not in current]

    def replaced(self) -> set[str]:
        """Names of measurements by other recipes, in whose place those of the wanted rows will stand."""
        given = set[str]()
        for target in self.targets:
            row = self.plan.rows[target.row]
            splits = (PAIRS,) if row.builds_only else row.evaluate
            given |= {
                Measurement(row=row.name, split=split, base=target.base, seed=target.seed).name for split in splits
            }
        for name in {name for target in self.targets for name in self._choosers(self.plan.rows[target.row])}:
            jobs = self._grid_with_base(name) if self.known_grid_jobs(name) else []
            given |= {_blank(job, split).name for job in jobs for split in job.hashes}
        return given & {one.name for one in self.stale()}

    def missing(self) -> list[Target]:
        """Runs that are not measured; one whose grid has not chosen yet is."""
        return [target for target in self.targets if self._is_missing(target)]

    def job(self, target: Target) -> Job | None:
        """A run as a job; None where a grid that it needs has not chosen yet."""
        choices = {name: self._known_choice(name) for name in self._choosers(self.plan.rows[target.row])}
        if any(choice is None for choice in choices.values()):
            return None
        return self._job(target)

    def grid_jobs(self, name: str) -> list[Job]:
        """The points of a row's own grid; of rows that it needs, the choices must be known."""
        row = self.plan.rows[name]
        assert row.grid is not None
        if name not in self._grids:
            needed = self._points(self._choosers(row, own=False))
            self._grids[name] = [self._grid_job(row, row.grid, point, needed) for point in points(row.grid)]
        return self._grids[name]

    def has_points(self, name: str) -> bool:
        """Whether any point of a row's grid was measured."""
        return any(one.is_grid_point and one.row == name for one in self._measured.values())

    def unmeasured_splits(self, job: Job) -> tuple[str, ...]:
        """Evaluations of a job that the ledger lacks, or has of another recipe."""
        return tuple(split for split in job.hashes if self._lookup(job, split) is None)

    def leftovers(self, done: Job) -> list[Path]:
        """Folders of adapters that were points of a grid, and that no run has or needs, when a run is measured."""
        row = self.plan.rows[done.row]
        if row.grid is None or (done.base, done.seed) != (row.grid.base, row.grid.seed):
            return []
        kept = {step.folder for step in self._needed_trainings()}
        return [
            job.training.folder
            for job in self.grid_jobs(row.name)
            if job.training and job.training.folder not in kept and job.training.is_done
        ]

    def _needed_trainings(self) -> Iterator[Step]:
        """Adapters of measured runs, which are kept, and those that jobs still need."""
        rows = [name for name, row in self.plan.rows.items() if row.train]
        for target in targets(self.plan, rows):
            if job := self.job(target):
                yield from (step for step in job.steps if step.command == "train")
            elif (grid := self.plan.rows[target.row].grid) and target.seed == grid.seed and target.base == grid.base:
                yield from (one.training for one in self.known_grid_jobs(target.row) if one.training)

    def known_grid_jobs(self, name: str) -> list[Job]:
        """The points of a row's own grid, as far as they can be told; none where it has no grid."""
        if self.plan.rows[name].grid is None:
            return []
        choosers = self._choosers(self.plan.rows[name], own=False)
        return self.grid_jobs(name) if all(self._known_choice(one) for one in choosers) else []

    def _unit(self, target: Target) -> Unit | None:
        """What is to be done next for a run; None where it is measured, or has failed before."""
        row = self.plan.rows[target.row]
        for name in self._choosers(row):
            if name not in self._choices and (unit := self._grid_unit(name)):
                return unit
        return self._job_unit(self._job(target))

    def _grid_unit(self, name: str) -> Unit | None:
        """The next unit of a row's grid; None when it has chosen."""
        row = self.plan.rows[name]
        assert row.grid is not None
        jobs, blocked, reasons = self._grid_with_base(name), False, []
        for job in jobs:
            try:
                if unit := self._job_unit(job):
                    return unit
            except _Blocked:
                blocked = True
            except _Broken as broken:
                reasons.append(str(broken))
                self._record_failure(_failure(job, str(broken)))
        if blocked:
            raise _Blocked
        self._choices[name] = self._choose(name, reasons)
        return None

    def _grid_with_base(self, name: str) -> list[Job]:
        """A grid's points, after the base that they are compared with."""
        row, base_row = self.plan.rows[name], self.plan.base_of(name)
        assert row.grid is not None
        if row.grid.keep is None or base_row is None:
            return self.grid_jobs(name)
        return [self._base_job(base_row, row.grid), *self.grid_jobs(name)]

    def _base_job(self, base_row: Row, grid: Grid) -> Job:
        return self.composer.job(base_row, grid.base, 0, {}, grid_point={}, splits=(grid.split,))

    def _grid_job(self, row: Row, grid: Grid, point: Mapping[str, Any], needed: Mapping[str, Mapping[str, Any]]) -> Job:
        return self.composer.job(row, grid.base, grid.seed, needed, grid_point=point, splits=(grid.split,))

    def _choose(self, name: str, reasons: Sequence[str] = ()) -> Choice:
        """By the rule, of what was measured.

        Raises:
            _Broken: nothing was, or the rule cannot be applied.
        """
        row, base_row = self.plan.rows[name], self.plan.base_of(name)
        assert row.grid is not None
        base = None
        if row.grid.keep and base_row:
            base = self._lookup(self._base_job(base_row, row.grid), row.grid.split)
            if base is None:
                raise _Broken(f"the base was not measured on {row.grid.split}, which the grid compares with")
        found = [self._lookup(job, row.grid.split) for job in self.grid_jobs(name)]
        measured = [one for one in found if one is not None]
        if not measured:
            raise _Broken(f"every point of the grid of {name!r} has failed" + (f": {reasons[0]}" if reasons else ""))
        try:
            return choose(row.grid, base, measured)
        except MmprefError as error:
            raise _Broken(str(error)) from error

    def _known_choice(self, name: str) -> Choice | None:
        """A grid's choice, where all of its points are measured or have failed."""
        if name not in self._choices:
            row = self.plan.rows[name]
            if not self.has_points(name):  # which spares composing all of a large grid
                return None
            if row.grid is None or any(self._known_choice(one) is None for one in self._choosers(row, own=False)):
                return None
            jobs = self._grid_with_base(name)
            if any(self.unmeasured_splits(job) and job.name not in self._failed for job in jobs):
                return None
            try:
                self._choices[name] = self._choose(name)
            except _Broken:
                return None
        return self._choices[name]

    def _job_unit(self, job: Job) -> Unit | None:
        """The next unit of a job; None where it is measured, or has failed itself."""
        splits = self.unmeasured_splits(job)
        if not splits or job.name in self._failed:
            return None
        if broken := next((step for step in job.steps if step.folder.as_posix() in self._failed), None):
            raise _Broken(f"{broken.what} failed: {self._failed[broken.folder.as_posix()]}")
        for step in job.steps:
            if step.command == BASE and step.is_done and (fault := self._base_weights.fault(step)):
                raise _Broken(fault)
        undone = [step for step in job.steps if not step.is_done]
        for step in undone:
            key = step.folder.as_posix()
            if key not in self._busy and all(need.is_done for need in step.needs):
                return Unit(key, step=step)
        unit = Unit(job.name, job=job, splits=splits)
        if undone or unit.holds & self._busy:
            raise _Blocked
        return unit

    def _job(self, target: Target) -> Job:
        if target not in self._jobs:
            self._jobs[target] = self._compose(target)
        return self._jobs[target]

    def _compose(self, target: Target) -> Job:
        row = self.plan.rows[target.row]
        chosen = self._points(self._choosers(row))
        chooser = row.grid_like or row.name
        if row.grid_like:
            chosen[row.name] = chosen[row.grid_like]
        outside = chooser in self._choices and self._choices[chooser].outside
        return self.composer.job(row, target.base, target.seed, chosen, outside=outside)

    def _points(self, choosers: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """What grids chose, by row; rows with another's choice among them."""
        chosen = {name: self._choices[name].point for name in choosers}
        like = {name: row.grid_like for name, row in self.plan.rows.items() if row.grid_like in chosen}
        return {**chosen, **{name: chosen[other] for name, other in like.items() if other}}

    def _choosers(self, row: Row, own: bool = True) -> list[str]:
        """Rows whose grids must have chosen before a row can run, those first that others need.

        Args:
            own: the row's own grid, or the one that it goes by, among them.
        """
        found: dict[str, None] = {}
        for name in self.plan.rows_needed_by(row):
            found |= dict.fromkeys(self._choosers(self.plan.rows[name]))
        if own and row.grid_like:
            found |= dict.fromkeys(self._choosers(self.plan.rows[row.grid_like]))
        elif own and row.grid:
            found[row.name] = None
        return list(found)

    def _is_missing(self, target: Target) -> bool:
        job = self.job(target)
        return job is None or bool(self.unmeasured_splits(job))

    def _lookup(self, job: Job, split: str) -> Measurement | None:
        """What the ledger has of a job, if it was made by the same recipe; whether its grid's choice is outside, the
        grid says as it stands."""
        one = self._measured.get(_blank(job, split).name)
        if one is None or one.recipe_hash != job.hashes[split]:
            return None
        return replace(one, outside=job.outside)

    def _record_failure(self, failure: Failure) -> None:
        if failure.name not in self.failures:
            self.failures[failure.name] = failure
            self.ledger.write_failure(failure)

    def _settle_old_failures(self) -> None:
        """A point that failed in an earlier session is tried again, but not once its row has runs: these must keep
        the choice that was made without it. Both go by the recipes that they have now."""
        failures = {one.name: one for one in self.ledger.failures() if one.is_grid_point}
        rows = {one.row for one in failures.values()}
        # The points of a row can be told when those are settled that it needs.
        for name in dict.fromkeys(name for row in self.plan.rows.values() for name in self._choosers(row)):
            jobs = self.known_grid_jobs(name) if name in rows else []
            old = [(job, failures.get(_failure(job).name)) for job in jobs]
            same = {job.name: one.reason for job, one in old if one and one.hashes == job.hashes}
            if same and self._has_runs(name):
                self._failed |= same

    def _has_runs(self, name: str) -> bool:
        """Whether the ledger has a run of a row with a grid of its own, by the recipe that it has now."""
        row, runs = self.plan.rows[name], set(targets(self.plan, [name]))
        needed = self._points(self._choosers(row, own=False))
        for one in self._measured.values():
            if not one.is_grid_point and Target(one.row, one.base, one.seed) in runs:
                job = self.composer.job(row, one.base, one.seed, {**needed, name: one.point})
                if job.hashes.get(one.split) == one.recipe_hash:
                    return True
        return False


def _blank(job: Job, split: str) -> Measurement:
    """What a job will be measured as, without what it will say."""
    facts: dict[str, Any] = {"row": job.row, "base": job.base, "seed": job.seed, "point": job.point}
    return Measurement(**facts, split=split, is_grid_point=job.is_grid_point)


def _failure(job: Job, reason: str = "") -> Failure:
    return Failure(job.row, job.base, job.seed, job.point, job.is_grid_point, reason, job.hashes)
