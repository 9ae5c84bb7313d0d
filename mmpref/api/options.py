"""From the options of a command to its recipe: the one way that the command line and Python have in common."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial as partial_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmpref.api.settings import NAMES, advise
from mmpref.errors import InputError, UsageError, brief
from mmpref.hub_ids import model_id
from mmpref.recipes.resolve import default_recipe, is_given, merge, nested, resolve
from mmpref.registry import suggest
from mmpref.tables.in_memory import is_in_memory, is_table, spec_of

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe, WatchSettings
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe

NameOrPath = str | os.PathLike[str]
"""A name (of a recipe, a model, a repository), or the path of a file or folder."""

_SEVERAL = (
    "source",
    "dataset",
    "image_root",
    "where",
    "exclude_images_of",
    "benchmarks",
    "eval_benchmark",
    "report_to",
    "thinking",
)
"""Options that can be repeated: of a single text they make one."""


def build_recipe(
    *,
    recipe: NameOrPath | BuildRecipe | None = None,
    set: Mapping[str, Any] | None = None,
    partial: bool = False,
    **options: Any,
) -> BuildRecipe:
    """The recipe of ``build-dataset`` with these options.

    Raises:
        UsageError: a setting that is unknown, missing or of another type.
    """
    from mmpref.data.builder import BUILDERS
    from mmpref.data.recipe import BuildRecipe, section_for_method

    instruction = "builder.instruction"
    named, overrides = _named(options, {**NAMES["build-dataset"], "prompt_file": instruction}, set), nested(set or {})
    if (file := named.get(instruction)) is not None:
        named[instruction] = template(file, "--prompt-file")
    has_source = named.get("source") or overrides.get("source")
    if has_source and named.get("limit") is None and recipe is None:
        overrides = {"limit": None, **overrides}  # the limit of the default recipe is for its own source
    advice = partial_of(advise, "build-dataset")
    resolved = resolve(BuildRecipe, "build-dataset", recipe, named, overrides, section_for_method, partial, advice)
    if (named.get("annotator") or overrides.get("annotator")) and not BUILDERS.get(resolved.method).needs_annotator:
        raise UsageError(f"The method {resolved.method} asks no annotator.", "Leave --annotator out.")
    _refuse_rho_of_noise(resolved, named, overrides)
    return resolved


def _refuse_rho_of_noise(recipe: BuildRecipe, named: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """A threshold that is given beside noise would have no effect. One of the recipe, or both by ``--set``, as cards
    print all settings of a run, is left alone.

    Raises:
        UsageError: one of both is an option, and the other is given too.
    """
    rho, noise = "builder.rho_th", "builder.noise_steps"
    if recipe.builder.get("noise_steps") is None or (named.get(rho) is None and named.get(noise) is None):
        return
    said = merge(nested({key: value for key, value in named.items() if value is not None}), overrides)
    if isinstance(block := said.get("builder"), Mapping) and block.get("rho_th") is not None:
        raise UsageError(
            "The noise variant hides no image token: rho_th means nothing there.", "Leave one of them out."
        )


def train_recipe(
    *,
    recipe: NameOrPath | TrainRecipe | None = None,
    set: Mapping[str, Any] | None = None,
    partial: bool = False,
    **options: Any,
) -> TrainRecipe:
    """The recipe of ``train`` with these options, before what it watches and builds is settled.

    Raises:
        UsageError: a setting that is unknown, missing or of another type.
    """
    from mmpref.align.recipe import TrainRecipe, section_for_method

    overrides = _with_watched(nested(set or {}))
    named = _named(options, NAMES["train"], overrides)
    resolved = resolve(
        TrainRecipe,
        "train",
        recipe,
        named,
        overrides,
        lambda section, values: _with_watched(section_for_method(section, values)),
        partial,
        partial_of(advise, "train"),
    )
    watched = nested({key: value for key, value in named.items() if is_given(value)})
    said = merge(watched, overrides).get("watch")
    _refuse_unwatched(recipe, resolved.watch, said if isinstance(said, Mapping) else {}, partial=partial)
    return resolved


def _refuse_unwatched(given: Any, watch: WatchSettings, said: Mapping[str, Any], *, partial: bool) -> None:
    """What is said of benchmarks that are not watched would have no effect; and of one that a recipe was not resolved
    for, what its file says is not known any more.

    Args:
        given: the recipe as it was given.
        said: of ``watch``, beside that.

    Raises:
        UsageError: there are such.
    """
    from mmpref.align.recipe import TrainRecipe

    if isinstance(given, TrainRecipe):
        for name in watch.benchmarks:
            if name not in given.watch.benchmarks:
                raise UsageError(
                    f"The recipe given watches no {name}: what its file says of that benchmark is not known any more.",
                    f"Resolve it for that one: mmpref.recipe(NAME, 'train', eval_benchmark={name!r}).",
                )
    if not partial:
        _refuse_unused(said.get("benchmark") or {}, watch.benchmarks, "watched", "--eval-benchmark")
    for name in said:
        if not watch.benchmarks and name in ("every", "limit", "split") and said[name] is not None:
            raise UsageError(f"watch.{name} needs a benchmark.", "Name one with --eval-benchmark.")


def _with_watched(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``train`` with those of benchmarks where its recipe has them: their key is that of ``evaluate``."""
    rest = {key: value for key, value in settings.items() if key != "benchmark"}
    benchmark = settings.get("benchmark")
    if not isinstance(benchmark, Mapping):
        return dict(settings) if benchmark is not None else rest
    # Of a recipe that extends another ``rest`` may have what the one below says, already under its own key.
    return merge(rest, {"watch": {"benchmark": _with_specs(benchmark)}})


def evaluate_recipe(
    *,
    recipe: NameOrPath | EvaluateRecipe | None = None,
    set: Mapping[str, Any] | None = None,
    partial: bool = False,
    **options: Any,
) -> EvaluateRecipe:
    """The recipe of ``evaluate`` with these options.

    Raises:
        UsageError: a setting that is unknown, missing, of another type, or of a benchmark that is not evaluated.
    """
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.bench.suites import expanded

    if isinstance(options.get("benchmark"), str | list | tuple):  # as the command line names them
        options["benchmarks"] = options.pop("benchmark")
    if isinstance(file := options.get("judge_prompt"), os.PathLike):
        options["judge_prompt"] = template(file, "--judge-prompt")
    named, overrides = _named(options, NAMES["evaluate"], set), _with_specs(set or {})
    advice = partial_of(advise, "evaluate")
    resolved = resolve(EvaluateRecipe, "evaluate", recipe, named, overrides, partial=partial, advise=advice)
    if resolved.benchmarks:
        resolved = dataclasses.replace(resolved, benchmarks=expanded(resolved.benchmarks))
    given = merge(nested({"benchmark": named.get("benchmark") or {}}), nested(overrides))["benchmark"] or {}
    _refuse_unused(given if resolved.benchmarks else {}, resolved.benchmarks, "evaluated", "--benchmark")
    return resolved


def _refuse_unused(given: Mapping[str, Any], benchmarks: Sequence[str], done: str, option: str) -> None:
    """Settings of a benchmark that is not asked would have no effect, which would be seen too late.

    Raises:
        UsageError: there are such, or of no benchmark at all.
    """
    from mmpref.bench.benchmark import BENCHMARKS

    for name in given:
        if BENCHMARKS.get(name) and name not in benchmarks:
            raise UsageError(
                f"There are settings for the benchmark {name}, and {done} are {', '.join(benchmarks) or 'none'}.",
                f"Name it with {option}={name}, or leave its settings out.",
            )


def recipe_name(recipe: Any, model: Any, set: Mapping[str, Any] | None = None) -> str | None:
    """The name of the recipe that a command takes its defaults from; None where it was resolved before.

    Args:
        recipe, model, set: as they were given.
    """
    if recipe is None:
        return default_recipe({"model": model}, set or {})
    return os.fspath(recipe) if isinstance(recipe, str | os.PathLike) else None


def recipe(name: NameOrPath, command: str, **options: Any) -> BuildRecipe | TrainRecipe | EvaluateRecipe:
    """What a recipe means for a command, with options on top: every setting, checked and typed.

    Source: the YAML files of ``mmpref.recipes`` and of plugins (``mmpref list recipes``), or one of your own.

    Args:
        name: a named recipe such as ``paper``, or the path of a YAML file.
        command: ``build-dataset``, ``train`` or ``evaluate``.
        options: those of `build_dataset`, `train` or `evaluate` that decide the result. Mappings are merged key by
            key: ``trainer={"max_steps": 10}`` keeps the rest of the recipe's block. ``set`` takes nested or dotted keys
            as ``--set`` does, and overrides with None too.

    Returns:
        A frozen dataclass (`BuildRecipe`, `TrainRecipe`, `EvaluateRecipe`), which is a ``recipe=`` of the function too,
        for this method and these watched benchmarks: what the recipe says of others is not in it.
        What neither recipe nor options name, such as the paper's model, is empty, and to be given then.

    Raises:
        UsageError: no such recipe, command or setting, or one of another type.
        InputError: a file that is no recipe.
    """
    resolvers: dict[str, Any] = {"build-dataset": build_recipe, "train": train_recipe, "evaluate": evaluate_recipe}
    asked = command.replace("_", "-")
    if asked not in resolvers:
        raise UsageError(f"There is no command {command!r} that takes a recipe.", suggest(asked, list(resolvers)))
    from mmpref.api.checks import check_settings
    from mmpref.api.watching import with_watched

    made: BuildRecipe | TrainRecipe | EvaluateRecipe = resolvers[asked](recipe=name, partial=True, **options)
    if asked == "train":
        made = with_watched(cast("TrainRecipe", made), recipe_name(name, None))
    check_settings(made)
    return made


def as_path(option: str, value: NameOrPath, hint: str = "Give its path.") -> Path:
    """A file or folder that an option names.

    Raises:
        UsageError: it is no path.
    """
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{option} is {brief(repr(value))}, which is no path.", hint)
    return Path(value).expanduser()


def template(path: NameOrPath, option: str) -> str:
    """The text of a file that an option names.

    Raises:
        UsageError: it cannot be read, or is no text.
    """
    from mmpref.text_files import read_text

    try:
        return read_text(as_path(option, path))
    except InputError as error:
        raise UsageError(f"{option}: {error.message}", error.hint) from error


def _named(
    options: Mapping[str, Any], keys: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The options by the recipe's keys: nested ones with dots, after the mapping that they are part of.

    Raises:
        UsageError: an option's key is given in another way too.
    """
    _refuse_twice(options, keys, overrides or {})
    settings: dict[str, Any] = {}
    own_paths = not options.get("image_root")
    for name, value in sorted(options.items(), key=lambda option: option[0] in keys):
        if name in ("model", "adapter") and value is not None:
            value = model_name(name, value)
        elif name in ("benchmark", "watch") and isinstance(value, Mapping):
            value = _with_specs(value)
        elif name in _SEVERAL:
            if name in ("source", "dataset"):
                refuse_no_rows(name, value)
            value = as_specs(value, own_paths)
        settings[keys.get(name, name)] = as_spec(value)
    if excluded := settings.get("exclude_images_of"):  # which may name a split
        settings["exclude_images_of"] = tuple(f"{name}:test" if is_in_memory(name) else name for name in excluded)
    return settings


def _refuse_twice(options: Mapping[str, Any], keys: Mapping[str, str], overrides: Mapping[str, Any]) -> None:
    """Of one setting in two places one value would be dropped.

    Raises:
        UsageError: one is given by an option or in its block, and in another block or by ``set`` too.
    """
    given = dict.fromkeys(_leaves(nested(overrides)))
    for name, value in sorted(options.items(), key=lambda option: option[0] in keys):
        if not is_given(value):
            continue
        key = keys.get(name, name)
        option = f"--{name.replace('_', '-')}"
        is_block = isinstance(value, Mapping) and not is_table(value)
        for one in list(_leaves(nested({key: value}))) if is_block else [key]:
            if any(_overlap(one, other) for other in given):
                what = f"{option} is {one}, which" if not is_block and name != one else one if is_block else option
                raise UsageError(f"{what} is given a second time.", "Leave one of them out.")
            given[one] = None


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of nested settings."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and not is_table(value):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _overlap(one: str, other: str) -> bool:
    """Whether two dotted keys are of one setting, or of a part of it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def model_name(option: str, value: Any) -> str:
    """The name, or the text of the folder, of a model or adapter.

    Raises:
        UsageError: it is none.
    """
    name = as_spec(value)
    if isinstance(name, str):
        return model_id(os.path.expanduser(name))
    loaded = ", what load_policy gave, or a pair of a model and its processor" if option == "model" else ""
    raise UsageError(f"{option} is a {type(value).__name__}.", f"Give a Hub id, a folder{loaded}.")


def refuse_no_rows(option: str, value: Any) -> None:
    """Rows in memory that are none must not mean the recipe's own, nor a mapping of columns one row.

    Raises:
        UsageError: a mapping.
        InputError: an empty list.
    """
    if isinstance(value, Mapping) and not is_table(value):
        raise UsageError(
            f"{option} is a mapping.", "Give a list of rows, each a mapping; of columns, pandas.DataFrame(columns)."
        )
    if isinstance(value, list) and not value:
        raise InputError(f"{option} is empty.", "Give at least one row, or leave it out for the recipe's own.")


def as_spec(value: Any, own_paths: bool = True) -> Any:
    """A path, or the result of another function, as the text of its place; rows in memory as the name of their table.

    Args:
        own_paths: as of `mmpref.tables.in_memory.spec_of`.
    """
    if is_table(value):
        return spec_of(value, own_paths=own_paths)
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def as_specs(value: Any, own_paths: bool = True) -> tuple[Any, ...]:
    """The values of an option that can be repeated; none of None."""
    if value is None:
        return ()
    values = value if isinstance(value, list | tuple) and not is_table(value) else [value]
    return tuple(as_spec(one, own_paths) for one in values)


def _with_specs(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of benchmarks with the names of tables in place of rows in memory."""
    return {
        name: _with_specs(value) if isinstance(value, Mapping) and not is_table(value) else as_spec(value)
        for name, value in settings.items()
    }
