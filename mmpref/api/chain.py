"""A chain of rounds as it is planned: what each builds, trains and evaluates, before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mmpref.api.call import Call
from mmpref.errors import UsageError
from mmpref.recipes import resolve
from mmpref.recipes.schema import OPTIONAL, build
from mmpref.registry import suggest
from mmpref.run.rounds import StopRule

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe

STEPS = ("build-dataset", "train", "evaluate")
"""Of a round, and the folders of their runs."""


@dataclass(frozen=True)
class IterateSettings:
    """How build, train and evaluate are repeated: the section ``iterate`` of a recipe.

    Args:
        metric: ``BENCHMARK/METRIC`` that says which round is kept.
        rounds: at most so many; 3 where nothing is said. It is no part of what a chain's folder belongs to: more of
            them go on from those that are there.
        rows: ``new``: each round builds on the next rows of the source; ``same``: on the same ones, with another seed.
        limit: rows of the source that a round builds on; by default ``build-dataset.limit``.
        split: of the benchmarks' data that say which round is kept. The recipe's own split is for the report in the
            end, and must be another.
        benchmarks: that every round is evaluated on; by default all of ``evaluate``.
        improves, patience, max_kl: as of `mmpref.run.rounds.StopRule`.
        kl_prompts: prompts that the KL from the base is measured on; 0 leaves it out.
        seed: of the first round's building and training; each round's is one more. By default those of the sections.
    """

    metric: str
    rounds: int | None = field(default=None, metadata=OPTIONAL)
    rows: Literal["new", "same"] = "new"
    limit: int | None = None
    split: str = "dev"
    benchmarks: tuple[str, ...] = ()
    improves: Literal["better", "clear"] = "better"
    patience: int = 1
    max_kl: float | None = None
    kl_prompts: int = 32
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("patience", 1), ("limit", 1), ("kl_prompts", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"iterate.{name} is {value}; it must be at least {least}.")
        if self.max_kl is not None and not (self.max_kl > 0 and self.kl_prompts):
            raise UsageError("iterate.max_kl must be above 0, and needs prompts to measure it on (iterate.kl_prompts).")

    @property
    def at_most(self) -> int:
        """How many rounds there may be."""
        return 3 if self.rounds is None else self.rounds

    @property
    def rule(self) -> StopRule:
        return StopRule(self.improves, self.patience, self.max_kl)


@dataclass(frozen=True)
class ChainRecipe:
    """Everything that decides a chain: how rounds are repeated, and the recipes of the first one without its folders.

    Args:
        dev: the evaluation that says which round is kept.
        test: the one in the end, of the round that is kept.
    """

    iterate: IterateSettings
    build: BuildRecipe
    train: TrainRecipe
    dev: EvaluateRecipe
    test: EvaluateRecipe


class RoundCalls(NamedTuple):
    """The commands of a round."""

    build: Call
    train: Call
    evaluate: Call


@dataclass(frozen=True)
class Chain:
    """A recipe's chain.

    Args:
        name: of the recipe, or its file.
        settings: how rounds are repeated.
        overrides: what ``set`` says, by section.
    """

    name: str
    settings: IterateSettings
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def recipe(self) -> ChainRecipe:
        """The chain's recipe.

        Raises:
            UsageError: a setting that is unknown, missing or of another type, sections of different models, a model
                behind a server, rows that nobody counts, or a metric of a benchmark that no round is evaluated on.
        """
        from mmpref.align.method import METHODS
        from mmpref.align.recipe import refuse
        from mmpref.api.watching import with_watched

        build_call, train_call, evaluate_call = self.calls(1, None)
        train = with_watched(train_call.resolved(), self.name)
        refuse(dataclasses.replace(train, adapter=train.adapter or "round-1"), METHODS.get(train.method))
        settings = dataclasses.replace(self.settings, rounds=None)
        recipe = ChainRecipe(
            settings, build_call.resolved(), train, evaluate_call.resolved(), self.test(None).resolved()
        )
        _refuse_other_model(recipe)
        if self.settings.rows == "new" and recipe.build.limit is None:
            raise UsageError(
                "Every round builds on rows of its own, and nothing says how many.",
                "Give iterate.limit, or iterate.rows: same.",
            )
        benchmark = self.settings.metric.partition("/")[0]
        if benchmark not in recipe.dev.benchmarks:
            raise UsageError(
                f"iterate.metric is {self.settings.metric!r}, and no round is evaluated on {benchmark!r}.",
                suggest(benchmark, recipe.dev.benchmarks),
            )
        self._refuse_other_split(recipe)
        self._refuse_reported_data(recipe, benchmark)
        return recipe

    def calls(self, number: int, folder: Path | None) -> RoundCalls:
        """The commands of a round.

        Args:
            number: of the round, from 1.
            folder: of the chain; None leaves out what earlier steps make.
        """
        from mmpref.data.builder import BUILDERS

        before = str(folder / f"round-{number - 1}" / "train") if folder and number > 1 else None
        here = folder / f"round-{number}" if folder else None
        first = Call("build-dataset", self.name, {}, self._set("build-dataset")).resolved()
        training = Call("train", self.name, {}, self._set("train")).resolved()
        adapter, revision = (before, None) if before else (training.adapter, training.adapter_revision)
        limit = self.settings.limit or first.limit
        skip = (first.skip or 0) + ((number - 1) * limit if limit and self.settings.rows == "new" else 0)
        seeds = [
            (one.seed if self.settings.seed is None else self.settings.seed) + number - 1 for one in (first, training)
        ]
        own, build_set = _own_adapter(first), self._set("build-dataset")
        written = BUILDERS.get(first.method).uses_model and not own
        if own and before:
            build_set = resolve.merge(build_set, {"builder": {"adapter": before}})
        build_options = {
            "adapter": adapter if written else None,
            "adapter_revision": revision if written else None,
            "skip": skip or None,
            "limit": limit,
            "seed": seeds[0],
        }
        trained = {"adapter": str(here / "train") if here else None}
        return RoundCalls(
            self._call("build-dataset", build_options, build_set, made=bool(before)),
            self._call(
                "train",
                {
                    "adapter": adapter,
                    "adapter_revision": revision,
                    "dataset": [str(here / "build-dataset")] if here else None,
                    "seed": seeds[1],
                },
                made=bool(before),
            ),
            self._call("evaluate", {**trained, **self._choosing}, made=True),
        )

    def start(self) -> Call | None:
        """The evaluation of the adapter that the chain begins with, on the data that choose; None where it has none."""
        training = Call("train", self.name, {}, self._set("train")).resolved()
        if training.adapter is None:
            return None
        begun = {"adapter": training.adapter, "adapter_revision": training.adapter_revision}
        return self._call("evaluate", {**begun, **self._choosing}, made=training.adapter_revision is None)

    @property
    def _choosing(self) -> dict[str, Any]:
        """The data that say which round is kept."""
        return {"split": self.settings.split, "benchmarks": list(self.settings.benchmarks) or None}

    def test(self, adapter: Path | None) -> Call:
        """The evaluation in the end, of the adapter that is kept."""
        return self._call("evaluate", {"adapter": str(adapter) if adapter else None}, made=True)

    def _call(
        self, command: str, options: Mapping[str, Any], set: Mapping[str, Any] | None = None, *, made: bool = False
    ) -> Call:
        """A command of the chain.

        Args:
            set: in place of what ``set`` says.
            made: whether its adapter is an earlier step's, so that a revision that the recipe names is another's.
        """
        given = {name: value for name, value in options.items() if value is not None}
        rest = self._set(command) if set is None else set
        call = Call(command, self.name, given, {name: value for name, value in rest.items() if name not in given})
        if made and call.resolved().adapter_revision:
            call = dataclasses.replace(call, set={**call.set, "adapter_revision": None})
        return call

    def _set(self, command: str) -> Mapping[str, Any]:
        return self.overrides.get(command, {})

    def _refuse_other_split(self, recipe: ChainRecipe) -> None:
        from mmpref.api.checks import refuse_other_split

        refuse_other_split(self.name, recipe.build, recipe.train)

    def _refuse_reported_data(self, recipe: ChainRecipe, benchmark: str) -> None:
        """What chooses a round must not report on it too.

        Raises:
            UsageError: it does.
        """
        from mmpref.bench.evaluate import spelled_out

        dev, test = spelled_out(recipe.dev), spelled_out(recipe.test)
        data, split = (dev.benchmark[benchmark].get(key) for key in ("data", "split"))
        for name, settings in test.benchmark.items():
            same = settings.get("data") == data if data else name == benchmark
            if same and settings.get("split") == split:
                raise UsageError(
                    f"The round is chosen by {benchmark} on the split {split!r}, which {name} reports on too: what is "
                    "chosen by its test data looks better than it is.",
                    "Give another iterate.split, or evaluate.split.",
                )


def chain_of(name: str, options: Mapping[str, Any], overrides: Mapping[str, Any]) -> Chain:
    """The chain of a recipe.

    Args:
        options: of the section ``iterate``; None is not given.
        overrides: by section, nested or with dots: ``{"train.trainer.max_steps": 10}``.

    Raises:
        UsageError: no such recipe, a section that it lacks, or a setting that is unknown, missing or of another type.
    """
    sections, layers = resolve.load(name), resolve.nested(overrides)
    for section, block in layers.items():
        if section not in (*STEPS, resolve.ITERATE) or not isinstance(block, Mapping):
            raise UsageError(
                f"A chain has no setting {section!r}.",
                "Name its section first: --set train.trainer.max_steps=10, --set iterate.patience=2",
            )
    if missing := [step for step in STEPS if step not in sections]:
        raise UsageError(f"The recipe {name} has no section {missing[0]!r}, so it has no rounds.")
    given = {key: value for key, value in options.items() if value is not None}
    values = resolve.merge(sections.get(resolve.ITERATE) or {}, given, layers.get(resolve.ITERATE) or {})
    if not values.get("metric"):
        raise UsageError(
            f"The recipe {name} does not say which metric chooses a round.", "Give it: --metric=chair/chair_i"
        )
    settings = build(IterateSettings, values, "iterate recipe")
    return Chain(name, settings, {step: layers.get(step, {}) for step in STEPS})


def _refuse_other_model(recipe: ChainRecipe) -> None:
    """There is one policy, whose adapter goes from step to step.

    Raises:
        UsageError: the sections name different models, or the policy is behind a server, which has no adapter of ours.
    """
    from mmpref.data.builder import BUILDERS

    models = {"train": recipe.train.model, "evaluate": recipe.dev.model}
    if BUILDERS.get(recipe.build.method).uses_model:
        models |= {"build-dataset": str(recipe.build.model)}
    if recipe.build.endpoint:
        raise UsageError(
            f"{recipe.build.model} is behind a server, and every round has another adapter.",
            "Give the model's Hub id or folder to build-dataset.",
        )
    if len({*models.values()}) > 1:
        named = ", ".join(f"{model} in {section}" for section, model in models.items())
        raise UsageError(f"A chain has one model, and here are {named}.", "Give the same to all three.")


def _own_adapter(recipe: BuildRecipe) -> bool:
    """Whether the method has a setting for an adapter: it works with that one, and is given the policy by it."""
    from mmpref.data.builder import BUILDERS

    return any(one.name == "adapter" for one in dataclasses.fields(BUILDERS.get(recipe.method).config()))
