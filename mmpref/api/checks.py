"""Before a recipe's work starts: whatever it says that cannot be, and whatever it names that is not there.

`check_settings` looks at the recipe alone, `refuse_absent` at this machine too, `look_up` asks the Hub and TRL, and
`open_data` reads benchmarks' data. What settings name, their fields say (`mmpref.recipes.names`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from mmpref.align.recipe import TrainRecipe
from mmpref.api import trainer_checks
from mmpref.api.planned import PlannedRun
from mmpref.api.settings import advised, option_of
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import InputError, ModelError, UsageError
from mmpref.hub_ids import refuse_page, refuse_revision_here
from mmpref.local_paths import check_hint, is_path, path_hint
from mmpref.recipes.names import Named, named
from mmpref.recipes.schema import build
from mmpref.registry import resolve_path, suggest
from mmpref.run.manifest import MANIFEST
from mmpref.tables.in_memory import is_in_memory
from mmpref.types import ModelRef

Recipe = BuildRecipe | TrainRecipe | EvaluateRecipe


def check_settings(recipe: Recipe) -> None:
    """Refuse what the blocks of a method, of benchmarks or of TRL cannot hold.

    Raises:
        UsageError: a setting that is unknown, or of another type, or a name of no method or benchmark.
    """
    dict(_blocks(recipe))
    if isinstance(recipe, TrainRecipe):
        trainer_checks.check(recipe)


def _blocks(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The settings that a recipe's free blocks stand for, by the key of the block."""
    if isinstance(recipe, BuildRecipe):
        from mmpref.data.builder import BUILDERS
        from mmpref.data.select import Condition

        for condition in recipe.where:
            Condition.parse(condition)
        with advised("build-dataset", vars(recipe)):
            yield "builder", build(BUILDERS.get(recipe.method).config(), recipe.builder, f"builder {recipe.method}")
    elif isinstance(recipe, TrainRecipe):
        from mmpref.align.method import METHODS

        watch = recipe.watch
        with advised("train", {"method": recipe.method, "watch": vars(watch)}):
            yield "loss", build(METHODS.get(recipe.method).settings, recipe.loss, "loss")
            yield from _benchmarks(watch.benchmarks, watch.benchmark, watch.split)
    else:
        with advised("evaluate", vars(recipe)):
            yield from _benchmarks(recipe.benchmarks, recipe.benchmark, recipe.split, recipe.image_root, recipe.columns)


def _benchmarks(
    names: Any, settings: Any, split: str | None, image_root: Any = None, columns: Any = None
) -> Iterator[tuple[str, Any]]:
    from mmpref.bench.benchmark import BENCHMARKS
    from mmpref.bench.plan import resolve_settings

    for name, values in resolve_settings(names, settings, split, image_root, columns).items():
        yield f"benchmark.{name}", build(BENCHMARKS.get(name).settings, values, f"benchmark {name}")


def all_named(recipe: Recipe) -> Iterator[Named]:
    """What a recipe and its blocks name.

    Raises:
        UsageError: as `check_settings`.
    """
    return _all_named(recipe, dict(_blocks(recipe)), ())


def refuse_absent(recipe: Recipe, made: Collection[str] = (), plan: Callable[[], PlannedRun] | None = None) -> bool:
    """Look at the whole recipe, and for the files, folders, tables, splits and functions of this machine that it names.

    Args:
        made: settings whose values an earlier step makes, such as ``dataset``: these are not looked for.
        plan: gives the run that is going to be made. One that is finished is good without what has gone since.

    Returns:
        Whether it names anything of the Hub.

    Raises:
        UsageError: as `check_settings`; settings that contradict each other; the address of a Hub page in place of an
            id.
        ModelError: a model or adapter whose name can only be a path, where there is none.
        InputError: a file, folder, table or split that is not there.
    """
    blocks = dict(_blocks(recipe))
    _refuse_contradictions(recipe)
    gone, remote = (InputError, ModelError) if plan and plan().is_finished else (), False
    for one in _all_named(recipe, blocks, made):
        with contextlib.suppress(*gone):
            is_remote = _is_remote(one, _split(recipe, one.key))
            if not is_remote and (setting := _REVISIONS.get(one.key)):
                refuse_revision_here(one.values[0], getattr(recipe, setting), f"--{setting.replace('_', '-')}")
            remote |= is_remote
    for key, settings in blocks.items():
        if key.startswith("benchmark."):
            with contextlib.suppress(*gone):
                _check_task(key, settings)
    return remote


def _refuse_contradictions(recipe: Recipe) -> None:
    if isinstance(recipe, BuildRecipe):
        from mmpref.data.builder import BUILDERS
        from mmpref.data.recipe import refuse

        refuse(recipe, BUILDERS.get(recipe.method))
    elif isinstance(recipe, TrainRecipe):
        from mmpref.align.method import METHODS
        from mmpref.align.recipe import refuse as refuse_training

        trainer_checks.refuse_names(recipe)
        refuse_training(recipe, METHODS.get(recipe.method))
    else:
        from mmpref.bench.evaluate import refuse as refuse_evaluation

        refuse_evaluation(recipe)


def _all_named(recipe: Recipe, blocks: dict[str, Any], made: Collection[str]) -> Iterator[Named]:
    left_out = {*made, *_unused(recipe)}
    yield from (one for one in named(recipe) if one.key not in left_out)
    for key, settings in blocks.items():
        yield from named(settings, f"{key}.")


def _unused(recipe: Recipe) -> list[str]:
    """Settings whose values are not looked at: an endpoint is no model to be found, and a method may take neither."""
    from mmpref.data.builder import BUILDERS

    if isinstance(recipe, BuildRecipe):
        builder = BUILDERS.get(recipe.method)
        loaded = builder.uses_model and not recipe.endpoint
        return [*(() if loaded else ["model"]), *(() if builder.needs_annotator else ["annotator"])]
    return ["model", "adapter"] if isinstance(recipe, EvaluateRecipe) and recipe.endpoint else []


def _split(recipe: Recipe, key: str) -> str | None:
    """The split that a table is read by; None where each names its own, or a benchmark has it."""
    return recipe.split if key in ("source", "dataset") else None


_REVISIONS = {"model": "revision", "adapter": "adapter_revision", "source": "source_revision"}
"""Settings that say of which revision another's value is."""


def _is_remote(one: Named, split: str | None) -> bool:
    """Look for what is named; whether it is the Hub's.

    Raises:
        UsageError, ModelError, InputError: it is not there.
    """
    from mmpref.tables.image_roots import ImageRoots

    if one.kind == "roots":
        ImageRoots(one.values)
        return False
    if one.kind == "table":
        return True in [_is_remote_table(one.key, value, split) for value in one.values]
    if one.kind == "path":
        for value in one.values:
            if not Path(resolve_path(value)).expanduser().exists():
                raise InputError(f"{one.key} is {value!r}: there is no such file or folder.", check_hint(value))
        return False
    return True in [_is_remote_model(one, value) for value in one.values]


def _is_remote_table(key: str, spec: str, split: str | None) -> bool:
    from mmpref.tables.open import refuse_absent as refuse_absent_table
    from mmpref.tables.open import refuse_split, with_split

    if key.startswith("benchmark."):
        return refuse_absent_table(spec, None)
    spec, split = (spec, split) if split else with_split(spec, "train" if key.startswith("loss.") else "test")
    remote = refuse_absent_table(spec, split)
    if key in ("source", "dataset"):
        refuse_split(spec, split)
    return remote


def _is_remote_model(one: Named, name: str) -> bool:
    from mmpref.vlm.adapters import refuse_adapter, refuse_no_adapter

    what = one.key.rpartition(".")[2].replace("_", " ")
    if one.kind == "annotator":
        from mmpref.judges.resolve import refuse_nobody

        model = refuse_nobody(name)
        if model is None:
            return False
        name = model
    refuse_page(name)
    if is_in_memory(name):
        return False
    if refuse_no_model(name, what):
        return True
    path = Path(resolve_path(name))
    if one.kind == "adapter":
        refuse_no_adapter(name)
    elif one.kind == "model" and not (path / "config.json").is_file():
        refuse_adapter(ModelRef(name))
        raise ModelError(f"Cannot load the {what} {name}: it has no config.json.", "Check the path.")
    return False


def refuse_no_model(name: str, what: str = "model") -> bool:
    """Whether a model's name is one of the Hub's.

    Args:
        what: it is.

    Raises:
        ModelError: it can only be a path, and nothing is there.
    """
    if Path(resolve_path(name)).exists():
        return False
    if is_path(name):
        hint = check_hint(name, "Check the path, or name a model of the Hub.")
        raise ModelError(f"Cannot load the {what} {name}: there is no such folder.", hint)
    return True


def _check_task(key: str, settings: Any) -> None:
    """See that a benchmark can be asked with these settings: its data's split, and what it reads beside them."""
    from mmpref.bench.benchmark import BENCHMARKS
    from mmpref.bench.plan import refuse_no_data
    from mmpref.tables.open import refuse_absent as refuse_absent_table

    name = key.removeprefix("benchmark.")
    benchmark = BENCHMARKS.get(name)
    if not benchmark.brings_data:
        refuse_no_data(name, settings, benchmark.candidates)
    if settings.data is not None:
        refuse_absent_table(settings.data, settings.split)
    benchmark.task(settings)


def refuse_other_split(name: str, built: BuildRecipe, trained: TrainRecipe) -> None:
    """A dataset that is built will have the split of its source, and perhaps a validation split.

    Args:
        name: of the recipe that both are of.

    Raises:
        UsageError: training is to read another.
    """
    from mmpref.data.validation_split import VALIDATION

    splits = [built.split, *([VALIDATION] if built.validation is not None else [])]
    if trained.split not in splits:
        raise UsageError(
            f"{name}, train: the dataset of build-dataset will have no split {trained.split!r}.",
            suggest(trained.split, splits),
        )


def is_finished(output: Path) -> bool:
    """Whether a folder holds a finished run: nothing more is needed for it."""
    return (output / MANIFEST).is_file()


def refuse_changed(recipe: Recipe, output: Path) -> None:
    """What a finished build or training would refuse if it were asked for again; an evaluation refuses by itself.

    Raises:
        RunError: the folder belongs to another recipe, or something that it was made of has changed since.
    """
    from mmpref.run.directory import open_run

    if isinstance(recipe, BuildRecipe):
        from mmpref.data import build as building
        from mmpref.data.made_of import refuse_changed as refuse

        refuse(open_run(output, "build-dataset", building.spelled_out(recipe)), recipe)
    elif isinstance(recipe, TrainRecipe):
        from mmpref.align import train as training
        from mmpref.align.made_of import refuse_changed as refuse_training

        refuse_training(open_run(output, "train", training.spelled_out(recipe)), recipe)


def look_up(recipe: Recipe, made: Collection[str] = ()) -> None:
    """Ask the Hub, or the cache where it cannot be asked, for the models, adapters and datasets that a recipe names;
    and TRL about its options.

    Args:
        made: as of `refuse_absent`.

    Raises:
        ModelError: a model or adapter that cannot be found.
        InputError: a dataset that cannot.
        UsageError: an option that TRL does not have or refuses, or a token that the model does not know.
        HubError: the Hub cannot be reached, and nothing is known of a dataset here.
    """
    if isinstance(recipe, TrainRecipe):
        trainer_checks.check(recipe, whole=True)
    for one in _all_named(recipe, dict(_blocks(recipe)), made):
        for value in one.values if one.kind not in ("path", "roots") else ():
            if _is_remote(one._replace(values=(value,)), _split(recipe, one.key)):
                _find(one, value, recipe)
    if isinstance(recipe, TrainRecipe):
        trainer_checks.refuse_unknown_token(recipe)


def _find(one: Named, name: str, recipe: Recipe) -> None:
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from mmpref.origins.revisions import commit_of, ref_of
    from mmpref.sampling.embedders import WITHOUT_NETWORK
    from mmpref.tables._repository import repository
    from mmpref.tables.open import with_split
    from mmpref.tables.table import HUB_FILE
    from mmpref.vlm.load_errors import load_errors

    if one.kind == "table":
        if not name.startswith(HUB_FILE):
            plain = one.key in ("source", "dataset") or one.key.startswith("benchmark.")
            at = recipe.source_revision if isinstance(recipe, BuildRecipe) and one.key == "source" else None
            repository(name if plain else with_split(name, "")[0], at)
        return
    ref = ref_of(name) if one.kind in ("annotator", "embedder") else ModelRef(name)
    model, revision = ref.model, ref.revision
    if one.key == "model":
        revision = recipe.revision
    elif one.kind == "adapter":
        revision = recipe.adapter_revision
    file = "adapter_config.json" if one.kind == "adapter" else "config.json"
    try:
        with load_errors(f"{one.key.rpartition('.')[2].replace('_', ' ')} {name}", name=name):
            commit_of(model, revision, file)
    except ModelError as error:
        cause, unknown = error.__cause__, isinstance(error.__cause__, LocalEntryNotFoundError)
        if one.kind != "adapter" and isinstance(cause, EntryNotFoundError) and not unknown:
            return  # it is there, without that file: loading says what it is instead
        if one.kind == "embedder":
            if unknown and _is_cached(model, revision, "modules.json"):  # not every embedder has the other
                return
            hint = f"{option_of(one.key)}=NAME-OR-FOLDER names another." + (f" {WITHOUT_NETWORK}" if unknown else "")
            raise ModelError(error.message, f"{path_hint(name, '')} {hint}".strip()) from error
        if one.kind == "annotator":
            from mmpref.judges.plugins import JUDGES

            raise ModelError(
                f"{name!r} is no judge or annotator of mmpref, and no model that can be found: {error.message}",
                path_hint(name, suggest(name, JUDGES.names())),
            ) from error
        raise


def _is_cached(model: str, revision: str | None, file: str) -> bool:
    from mmpref.origins.revisions import commit_of

    try:
        commit_of(model, revision, file)
    except OSError:
        return False
    return True


def open_data(recipe: Recipe) -> None:
    """Read what the benchmarks of a recipe ask about, as their evaluation will: for a step that is not the first.

    Raises:
        UsageError: nobody judges, or a metric that no benchmark has.
        InputError: data that cannot be read, or have no rows.
    """
    if isinstance(recipe, EvaluateRecipe):
        from mmpref.bench.evaluate import load_data

        load_data(recipe)
    elif isinstance(recipe, TrainRecipe):
        from mmpref.api.watching import watcher

        watcher(recipe)
