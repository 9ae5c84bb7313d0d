"""From a plan's parts to steps: each a resolved recipe in a folder named by the hash of all that decides it.

Rows whose steps have the same hash share them: pairs, points of grids, trainings and bases. Paths have no part in a
hash; what stands at them has (`mmpref.study.identity`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.api.call import Call
from mmpref.errors import UsageError
from mmpref.recipes import resolve
from mmpref.recipes.schema import as_plain
from mmpref.run.manifest import MANIFEST
from mmpref.study.bases import Start
from mmpref.study.identity import digest, identified, named_by
from mmpref.study.plan_types import Plan, Row
from mmpref.study.references import reference_of

PAIRS = "pairs"
"""What a measurement has for its split that is of pairs alone."""
BASE = "base"
"""The command of a step that trains a base; other steps have those of `mmpref`."""
_OPTIONS = {
    "build-dataset": ("method", "source", "split", "limit", "seed", "annotator"),
    "train": ("method", "dataset", "annotator", "limit", "seed"),
    "evaluate": ("benchmarks", "split", "limit", "seed", "judge"),
}
"""Keys of a section that the commands have an option for; the rest goes by ``--set``."""
Points = Mapping[str, Mapping[str, Any]]
"""By row: what its grid has chosen."""


@dataclass(frozen=True)
class Step:
    """Work that leaves a folder behind.

    Args:
        command: ``base``, ``build-dataset`` or ``train``.
        what: for messages.
        hash: of all that decides the folder's content.
        folder: where it goes.
        call: None for a base.
        needs: steps whose folders it reads.
        start: of a base.
    """

    command: str
    what: str
    hash: str
    folder: Path
    call: Call | None = None
    needs: tuple[Step, ...] = ()
    start: Start | None = None

    @property
    def is_done(self) -> bool:
        return self.folder.is_dir() if self.command == BASE else (self.folder / MANIFEST).is_file()


@dataclass(frozen=True)
class Job:
    """One model of a row, to be evaluated.

    Args:
        name: of its row and seeds, unique in the study.
        point, is_grid_point, outside: as of `mmpref.study.measurement.Measurement`.
        steps: what must be done before, in order.
        pairs: the step that built what it was trained on, if one did.
        training: None for a base.
        evaluations: by split.
        kl_call: the evaluation whose prompts the KL from the base is measured on; None where it is not.
        hashes: of all that decides the measurement, by split; of pairs that nobody trains on by `PAIRS`.
    """

    name: str
    row: str
    base: int
    seed: int
    point: Mapping[str, Any]
    is_grid_point: bool
    outside: bool
    steps: tuple[Step, ...]
    pairs: Step | None
    training: Step | None
    evaluations: Mapping[str, Call]
    kl_call: Call | None
    hashes: Mapping[str, str]


class Composer:
    """Makes steps and jobs of a plan.

    Args:
        folder: of the study.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self._symbols: dict[str, str] = {}
        self._bases: dict[Start, Step | None] = {}
        self._resolved: dict[str, Any] = {}
        self._found: dict[str, Any] = {}

    def base(self, start: Start) -> Step | None:
        """What trains a base; None where it is the recipe's own model."""
        if start not in self._bases:
            self._bases[start] = self._base(start)
        return self._bases[start]

    def _base(self, start: Start) -> Step | None:
        bases, options = self.plan.bases, self.plan.bases.options_of(start.world)
        if bases.is_own(start):
            return None
        sections = resolve.load(self.plan.recipe)
        steps = {command: section or {} for command, section in sections.items() if command != resolve.ITERATE}
        own = {command: {"model": section.get("model")} for command, section in steps.items()}
        facts = identified({"options": options, "own": own}, self._symbols)
        key = digest({"trained_by": bases.trained_by, "seed": start.seed, **facts})
        folder = self.folder / "bases" / f"{start.seed}-{key[:12]}"
        self._symbols[str(folder)] = f"base:{key}"
        world = f", world {start.world}" if start.world else ""
        return Step(BASE, f"the base of seed {start.seed}{world}", key, folder, start=start)

    def pairs(self, part: str, base: Start, points: Points) -> Step | None:
        """What builds a part of the plan's data on a base; None for rows that are there.

        Args:
            points: of rows whose adapters it takes; of these the first seed's is taken.
        """
        values = self.plan.data[part]
        if "dataset" in values:
            return None
        needs: list[Step] = []
        values = self._filled(resolve.merge(values, self.plan.bases.of(base.world).data), base, 0, points, needs)
        call = self._call("build-dataset", values, base, needs)
        return self._step(call, f"the pairs {part!r} on base {base.seed}", "data", needs)

    def training(self, row: Row, base: int, seed: int, point: Mapping[str, Any], points: Points) -> Step:
        """What trains a row's adapter.

        Args:
            point: settings of its grid.
            points: of rows whose adapters it takes.
        """
        assert row.data is not None
        assert row.train is not None
        needs: list[Step] = []
        start = Start(base, row.world)
        pairs = self.pairs(row.data, start, points)
        if pairs is not None:
            needs.append(pairs)
        data = {"dataset": [str(pairs.folder)]} if pairs else self.plan.data[row.data]
        layers = [self.plan.train[row.train], _nested(row.set), _nested(point)]
        values = self._filled(resolve.merge(data, *layers), start, seed, points, needs)
        values |= {"seed": seed} | ({"limit": row.limit} if row.limit else {})
        call = self._call("train", values, start, needs)
        return self._step(call, f"the adapter of row {row.name!r}, base {base}, seed {seed}", "train", needs)

    def job(
        self,
        row: Row,
        base: int,
        seed: int,
        points: Points,
        *,
        grid_point: Mapping[str, Any] | None = None,
        splits: tuple[str, ...] = (),
        outside: bool = False,
    ) -> Job:
        """A measured run of a row, or a point of its grid.

        Args:
            points: what the grids of the row and of those that it needs have chosen.
            grid_point: its settings, for one.
            splits: evaluations, in place of the row's.
        """
        point = points.get(row.name, {}) if grid_point is None else grid_point
        training = self.training(row, base, seed, point, points) if row.train else None
        start = Start(base, row.world)
        pairs = self.pairs(row.data, start, points) if row.data else None
        own = self.base(start)
        evaluations = {split: self.evaluation(split, start, training) for split in splits or row.evaluate}
        model = training.hash if training else own.hash if own else "own"
        kl = self.evaluation(self.plan.kl.split, start, training) if training and self.plan.kl else None
        facts = {"model": model, "kl": [as_plain(self.plan.kl), self._facts(kl)] if kl else None}
        hashes = {split: digest({**facts, "evaluate": self._facts(call)}) for split, call in evaluations.items()}
        if row.builds_only and pairs:
            hashes = {PAIRS: digest({"pairs": pairs.hash})}
        last = training or (pairs if row.builds_only else own)
        text = "".join(f" {key}={value}" for key, value in point.items()) if grid_point is not None else ""
        return Job(
            name=f"{row.name}, base {base}, seed {seed}{text}" + (" (grid)" if grid_point is not None else ""),
            row=row.name,
            base=base,
            seed=seed,
            point=point,
            is_grid_point=grid_point is not None,
            outside=outside,
            steps=tuple(_in_order(last)) if last else (),
            pairs=pairs,
            training=training,
            evaluations=evaluations,
            kl_call=kl,
            hashes=hashes,
        )

    def evaluation(self, split: str, base: Start, training: Step | None) -> Call:
        """An evaluation of a base, or of the adapter that a step trains."""
        of_world = self.plan.bases.of(base.world).evaluate.get(split, {})
        call = self._call("evaluate", resolve.merge(self.plan.evaluate[split], of_world), base, [])
        adapter = {"adapter": str(training.folder)} if training else {}
        return Call(call.command, call.recipe, {**adapter, **call.options}, call.set)

    def _call(self, command: str, values: Mapping[str, Any], base: Start, needs: list[Step]) -> Call:
        """A part put over the recipe's section, on a base."""
        own = self.base(base)
        options = {} if own is None else {"model": str(own.folder)}
        if own is not None and own not in needs:
            needs.insert(0, own)
        given = {name: values[name] for name in _OPTIONS[command] if values.get(name) is not None}
        rest = {name: value for name, value in values.items() if name not in given}
        return Call(command, self.plan.recipe, {**options, **given}, rest)

    def _step(self, call: Call, what: str, folder: str, needs: list[Step]) -> Step:
        recipe = self.resolved(call)
        key = digest({"command": call.command, "recipe": self._facts(call)})
        path = self.folder / folder / f"{recipe.method}-{key[:12]}"
        self._symbols[str(path)] = f"{call.command}:{key}"
        return Step(call.command, what, key, path, call, tuple({need.folder: need for need in needs}.values()))

    def _filled(self, value: Any, base: Start, seed: int, points: Points, needs: list[Step]) -> Any:
        """A part's settings with folders in place of references; their steps are added to ``needs``."""
        if (reference := reference_of(value)) is not None:
            kind, name = reference
            if kind == "row":
                row = self.plan.rows[name]
                step: Step | None = self.training(row, base.seed, seed, points.get(name, {}), points)
            else:
                step = self.pairs(name, base, points)
            if step is None:
                raise UsageError(
                    f"{self.plan.path}: data.{name} is not built here.", "Name its dataset itself in place of the part."
                )
            needs.append(step)
            return str(step.folder)
        if isinstance(value, Mapping):
            return {key: self._filled(one, base, seed, points, needs) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._filled(one, base, seed, points, needs) for one in value]
        return value

    def _facts(self, call: Call) -> Any:
        """All that decides what a call gives, looked at once: a session goes by what it has found."""
        key = repr(call)
        if key not in self._found:
            recipe = self.resolved(call)
            self._found[key] = identified(as_plain(recipe), self._symbols, named_by(recipe))
        return self._found[key]

    def resolved(self, call: Call) -> Any:
        """The call's recipe, resolved once."""
        key = repr(call)
        if key not in self._resolved:
            self._resolved[key] = call.resolved()
        return self._resolved[key]


def _in_order(step: Step) -> Iterator[Step]:
    """A step after all that it needs, each once."""
    found: dict[Path, Step] = {}

    def add(one: Step) -> None:
        for need in one.needs:
            add(need)
        found.setdefault(one.folder, one)

    add(step)
    yield from found.values()


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a": {"b": value}}`` of ``{"a.b": value}``."""
    layers: list[Mapping[str, Any]] = []
    for key, value in settings.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        layers.append(value)
    return resolve.merge(*layers)
