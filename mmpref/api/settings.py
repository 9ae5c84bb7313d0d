"""Every setting of the commands that take a recipe, whichever method, builder or benchmark it belongs to."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mmpref.errors import UsageError
from mmpref.recipes.resolve import COMMANDS
from mmpref.recipes.schema import UnknownSettingError
from mmpref.recipes.settings import Setting, advice, settings_of
from mmpref.registry import suggest

if TYPE_CHECKING:
    from mmpref.align.method import Method

BUILDER_OPTIONS = {
    name: f"builder.{name}"
    for name in (
        "rho_th",
        "visible_tokens",
        "iterations",
        "similarity_threshold",
        "similarity_model",
        "noise_steps",
        "guidance",
    )
}
TRAINER_OPTIONS = {
    "learning_rate": "trainer.learning_rate",
    "epochs": "trainer.num_train_epochs",
    "batch_size": "trainer.per_device_train_batch_size",
    "report_to": "trainer.report_to",
}
WATCH_OPTIONS = {
    "eval_benchmark": "watch.benchmarks",
    "eval_every": "watch.every",
    "eval_limit": "watch.limit",
    "eval_split": "watch.split",
    "best": "watch.best",
    "patience": "watch.patience",
}
NAMES: dict[str, dict[str, str]] = {
    "build-dataset": BUILDER_OPTIONS,
    "train": {**TRAINER_OPTIONS, **WATCH_OPTIONS},
    "evaluate": {},
}
"""What options call settings of a block, by command: the names that are not their keys."""
_FEW = 16
"""Settings of a section that an error names all of."""
OTHER_NAMES: dict[str, dict[str, str]] = {
    "train": {"similarity_model": "loss.bdhs.similarity_model", "prompt_file": "loss.instruction", "split": "split"},
    "build-dataset": {"keep_rejected": "keep_rejected"},
    "evaluate": {"dtype": "dtype"},
}
"""What options of other commands are here, where ``--set`` alone gives them."""


def option_of(key: str) -> str:
    """What gives a setting on the command line: its option, or else ``--set`` with its dotted key."""
    options = {of: name for names in NAMES.values() for name, of in names.items()}
    return f"--{options[key].replace('_', '-')}" if key in options else f"--set {key}"


def settings(command: str, part: str | None = None) -> list[Setting]:
    """Every key that ``--set`` takes.

    Args:
        command: ``build-dataset``, ``train`` or ``evaluate``.
        part: a builder, a training method or a benchmark; by default the command's own method, and no benchmark.

    Raises:
        UsageError: no such command, or it has no such part.
    """
    if command not in COMMANDS:
        raise UsageError(f"There is no command {command!r} that takes a recipe.", suggest(command, COMMANDS))
    parts = parts_of(command)
    if part is not None and part not in parts:
        raise UsageError(f"{command} has no method or benchmark {part!r}.", suggest(part, parts))
    return _settings(command, _chosen(command, part))


def parts_of(command: str) -> list[str]:
    """The methods, and after them the benchmarks, that bring settings of their own to a command."""
    from mmpref.align.method import METHODS
    from mmpref.bench.benchmark import BENCHMARKS
    from mmpref.data.builder import BUILDERS

    if command == "build-dataset":
        return BUILDERS.names()
    return list(dict.fromkeys([*(METHODS.names() if command == "train" else []), *BENCHMARKS.names()]))


def _chosen(command: str, part: str | None) -> dict[str, Any]:
    """The part as a recipe names it."""
    from mmpref.align.method import METHODS

    if part is None:
        return {}
    if command == "build-dataset" or (command == "train" and part in METHODS.names()):
        return {"method": part}
    return {"watch": {"benchmarks": [part]}} if command == "train" else {"benchmarks": [part]}


def _settings(command: str, chosen: Mapping[str, Any]) -> list[Setting]:
    if command == "build-dataset":
        return _of_build(chosen)
    return _of_train(chosen) if command == "train" else _of_evaluate(chosen.get("benchmarks") or ())


def _of_build(chosen: Mapping[str, Any]) -> list[Setting]:
    from mmpref.data.builder import BUILDERS
    from mmpref.data.recipe import BuildRecipe

    builder = BUILDERS.get(chosen.get("method") or BuildRecipe.method)
    return settings_of(BuildRecipe, {"builder": builder.config()})


def _keys(command: str, chosen: Mapping[str, Any]) -> list[Setting]:
    """As `_settings`, but what TRL's options have beside their keys is left out where that spares importing it."""
    from mmpref.align import trl_names, trl_options
    from mmpref.align.method import METHODS
    from mmpref.align.recipe import TrainRecipe

    method = METHODS.get(chosen.get("method") or TrainRecipe.method) if command == "train" else None
    known = trl_names.dpo_names() if method and method.takes_dpo_config else ()
    if not (method and known):
        return _settings(command, chosen)
    free = trl_options.free(known, method.trainer_keys)
    own = (one for one in _own_of_train(method, chosen) if one.key != "trainer")
    return [*own, *(Setting(f"trainer.{name}", "", None, "") for name in free)]


def _own_of_train(method: Method, chosen: Mapping[str, Any]) -> list[Setting]:
    """All but TRL's options; ``trainer`` stands for them."""
    from mmpref.align.recipe import TrainRecipe

    own = settings_of(TrainRecipe, {"loss": method.settings})
    benchmarks = _of_benchmarks((chosen.get("watch") or {}).get("benchmarks") or ())
    return [*(one for one in own if one.key != "watch.benchmark"), *benchmarks]


def _of_train(chosen: Mapping[str, Any]) -> list[Setting]:
    from mmpref.align import trl_options
    from mmpref.align.method import METHODS
    from mmpref.align.recipe import TrainRecipe

    method = METHODS.get(chosen.get("method") or TrainRecipe.method)
    own = _own_of_train(method, chosen)
    free = trl_options.free(trl_options.names(method.config()), method.trainer_keys)
    defaults = {**trl_options.OWN_DEFAULTS, "learning_rate": method.rates.learning_rate}
    trainer = [
        dataclasses.replace(one, default=defaults.get(one.name, one.default), meaning=_meaning_beside(one))
        for one in settings_of(method.config(), prefix="trainer.")
        if one.name in free
    ]
    rates = {"projector_learning_rate": method.rates.projector}
    return [
        *(dataclasses.replace(one, default=rates.get(one.key, one.default)) for one in own if one.key != "trainer"),
        *trainer,
    ]


def _meaning_beside(one: Setting) -> str:
    """The meaning of one of TRL's options, and what it is where a recipe names the other half of the batch alone."""
    from mmpref.align.trl_options import BATCH

    if one.name not in BATCH:
        return one.meaning
    [other] = BATCH - {one.name}
    return (
        f"{one.meaning} In a recipe file whose trainer block has {other} and not this, it is TRL's own: {one.default}."
    )


def _of_evaluate(benchmarks: Any) -> list[Setting]:
    from mmpref.bench.recipe import EvaluateRecipe

    own = [one for one in settings_of(EvaluateRecipe) if one.key != "benchmark"]
    return [*own, *_of_benchmarks(benchmarks)]


def _of_benchmarks(names: Any) -> list[Setting]:
    from mmpref.bench.benchmark import BENCHMARKS

    names = [names] if isinstance(names, str) else names  # a recipe file may name one so
    known = [name for name in names if name in BENCHMARKS.names()]
    return [one for name in known for one in settings_of(BENCHMARKS.get(name).settings, prefix=f"benchmark.{name}.")]


def advise(command: str, error: UnknownSettingError, values: Mapping[str, Any]) -> str:
    """What to say of a key that there is not: the setting of that name in whichever section it stands, or of another
    command; else a near one; else where all are listed.

    Args:
        values: the recipe, as far as it is known.
    """
    section, here = _section(error.where), list[str]()
    with contextlib.suppress(UsageError):  # a method that there is not is told by itself
        keys = _keys(command, values)
        if said := advice(error.name, keys, NAMES[command], command, section):
            return said
        here = [one.key for one in keys if section and one.key.startswith(section)]
    for other in COMMANDS:
        names = {one.name: one.key for one in _keys(other, {})} | NAMES[other]
        if other != command and error.name in names:
            return f"It is a setting of {other}: {names[error.name]}."
        if other != command and any(key.startswith(f"{error.name}.") for key in names.values()):
            return f"It is a part of {other}."
    if 0 < len(here) <= _FEW:
        return f"There are: {', '.join(here)}."
    return f"`mmpref list settings {command}` names all."


def _section(where: str) -> str:
    """The section that an error's place is in, with its dot: ``lora.`` of ``train recipe.lora``."""
    kind, _, name = where.partition(" ")
    if kind in COMMANDS:
        return f"{name.partition('.')[2]}.".removeprefix(".")
    return f"benchmark.{name}." if kind == "benchmark" else f"{kind}."


@contextlib.contextmanager
def advised(command: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Say with an unknown key where it belongs.

    Raises:
        UnknownSettingError: in place of another one.
    """
    try:
        yield
    except UnknownSettingError as error:
        hint = advise(command, error, values)
        raise UnknownSettingError(error.where, error.name, hint=hint) from error
