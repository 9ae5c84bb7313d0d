"""From a named recipe or a file, options and ``--set`` to a command's resolved recipe: the same for everybody."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import InputError, UsageError
from mmpref.local_paths import check_hint, is_path
from mmpref.recipes.in_words import as_written, expected
from mmpref.recipes.schema import (
    R,
    UnknownSettingError,
    WrongTypeError,
    as_plain,
    build,
    refuse_types,
    refuse_unknown,
    type_hints,
)
from mmpref.recipes.yaml_text import parsed_file, scalar
from mmpref.registry import Registry, suggest, yaml_files

Fit = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
Advise = Callable[[UnknownSettingError, Mapping[str, Any]], str]

GROUP = "mmpref.recipes"


COMMANDS = ("build-dataset", "train", "evaluate")
"""The commands that a recipe has a section for."""
ITERATE = "iterate"
"""The section that says how these are repeated."""
_SECTIONS = (*COMMANDS, ITERATE)
_EXTENDS = "extends"


def names() -> list[str]:
    """Every recipe that an installed package offers."""
    return sorted(yaml_files(GROUP))


def load(name_or_path: str) -> dict[str, Any]:
    """Read a named recipe or a YAML file: one mapping a command, each of that command's keys to values.

    ``extends: NAME`` in it puts it over another recipe: a named one, or a file, from the folder of its own.

    Raises:
        UsageError: no recipe of that name and no such file.
        InputError: not YAML, a key that is there twice, not a mapping, a section of no command, or it extends itself.
    """
    return in_layers(*_layers(name_or_path, ()))


def no_such(name_or_path: str, known: Iterable[str], what: str = "recipe") -> UsageError:
    """What is raised where neither a file nor anything else has that name."""
    if is_path(name_or_path) or Path(name_or_path).suffix in (".yaml", ".yml"):
        return UsageError(f"There is no file {name_or_path!r}.", check_hint(name_or_path))
    return UsageError(f"There is no {what} {name_or_path!r}.", suggest(name_or_path, sorted(known)))


def _layers(name_or_path: str, extending: tuple[Path, ...]) -> list[dict[str, Any]]:
    """The recipe, behind those that it goes over."""
    known = yaml_files(GROUP)
    path = known.get(name_or_path, Path(name_or_path).expanduser())
    if not path.is_file():
        raise no_such(name_or_path, known)
    content = parsed_file(path)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise InputError(
            f"{path} must hold a mapping from commands to settings.",
            "Example: `train: {model: me/vlm, dataset: me/pairs}`",
        )
    below = content.pop(_EXTENDS, None)
    if path.resolve() in extending:
        raise InputError(f"The recipe {path} extends itself.")
    name = str(below) if str(below) in known else str(path.parent / Path(str(below)).expanduser())
    if below is not None and not Path(known.get(name, name)).is_file():
        raise UsageError(
            f"{path} extends {str(below)!r}; there is no such recipe or file.", suggest(str(below), sorted(known))
        )
    for command, section in content.items():
        if command not in _SECTIONS:
            raise InputError(f"{path} has a section {command!r}.", suggest(str(command), list(_SECTIONS)))
        if not isinstance(section, Mapping | None):
            raise InputError(
                f"The section {command!r} of {path} is {as_written(section)}; it must be {expected(Mapping)}.",
                f"Example: `{command}: {{{'metric: chair/chair_i' if command == ITERATE else 'model: me/vlm'}}}`",
            )
    if below is None:
        return [content]
    said = {command: section for command, section in content.items() if section is not None}
    return [*_layers(name, (*extending, path.resolve())), said]


def section(
    name: str | None, command: str, cls: type, fit: Fit | None = None, method: str | None = None
) -> dict[str, Any]:
    """A command's section of a recipe for a method; empty where it has none, or there is no recipe.

    What the recipe says for that method, under ``methods``, goes over what it says beside that, and what a recipe that
    extends it says goes over both.

    Args:
        cls: the command's recipe; where it has methods, ``registry`` knows their names.
        fit: as `resolve` takes it: of a recipe that this one extends it adapts the section to what stands over it.
        method: that was chosen; by default the recipe's own.

    Raises:
        UsageError: a value of another type, or ``methods`` that there are not.
    """
    layers = [layer.get(command) or {} for layer in (_layers(name, ()) if name else ())]
    for layer in layers:
        _refuse_types(cls, layer, command)
    named = [layer["method"] for layer in layers if "method" in layer]
    chosen = method or next(reversed(named), getattr(cls, "method", None))
    general: dict[str, Any] = {}
    special: dict[str, Any] = {}
    for layer in layers:
        over, block = _for_method(cls, layer, chosen)
        below = fit(general, merge(general, over)) if fit and general else general
        special = in_layers(_without_said(_without_replaced(special, over), over), block)
        general = in_layers(below, over)
    return in_layers(general, special)


def _for_method(cls: type, layer: Mapping[str, Any], method: str | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What a recipe says whatever the method is, and what it says for this one."""
    registry: Registry[Any] | None = getattr(cls, "registry", None)
    if registry is None or method is None:
        return layer, {}
    blocks = {registry.current_name(name): block for name, block in (layer.get("methods") or {}).items()}
    rest = {key: value for key, value in layer.items() if key != "methods"}
    return rest, blocks.get(registry.current_name(method)) or {}


def _refuse_types(cls: type, layer: Mapping[str, Any], command: str) -> None:
    """As `refuse_types`, of what is said for certain methods too."""
    where = f"{command} recipe"
    refuse_types(cls, layer, where)
    registry: Registry[Any] | None = getattr(cls, "registry", None)
    if registry is None:
        return
    if layer.get("method", "") is None:
        raise WrongTypeError(None, str, f"{where}.method")
    methods = layer.get("methods")
    if not isinstance(methods, Mapping | None):
        raise WrongTypeError(methods, Mapping, f"{where}.methods")
    known = set[str]()
    for name, block in (methods or {}).items():
        refuse_types(cls, {} if block is None else block, f"{where}.methods.{name}")
        current = registry.current_name(name)
        if current not in registry.names():
            raise UsageError(f"{where}.methods has no method {name!r}.", suggest(str(name), registry.names()))
        if current in known:
            raise UsageError(f"{where}.methods has the method {current!r} twice.", "Leave its former name out.")
        known.add(current)


ALTERNATIVES = (("rho_th", "visible_tokens"),)
"""Settings of one block that say the same thing in two units: of several layers the last one's is meant."""


def parse_set(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["trainer.learning_rate=5e-6"]`` into ``{"trainer": {"learning_rate": 5e-6}}``; values are YAML.

    Raises:
        UsageError: an assignment without ``=``, with an empty key, or of a mapping with a key twice.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise UsageError(f"--set {assignment!r} is not of the form KEY=VALUE.", "Example: --set trainer.seed=1")
        target = settings
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise UsageError(f"--set {assignment!r}: {parent!r} already has a value.")
        target |= merge(target, {last: scalar(text)})
    return settings


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win; mappings are merged key by key. Inputs are left as they are."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def in_layers(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """As `merge`, but a layer that names one of `ALTERNATIVES` replaces what earlier layers say by the other.

    Raises:
        UsageError: a layer names both.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(_without_replaced(merged, layer), layer)
    return merged


def _without_said(earlier: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """What of an earlier layer this one says nothing of."""
    kept = {}
    for key, value in earlier.items():
        if key not in layer:
            kept[key] = value
        elif isinstance(value, Mapping) and isinstance(layer[key], Mapping):
            kept[key] = _without_said(value, layer[key])
    return kept


def _without_replaced(earlier: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(earlier)
    for names in ALTERNATIVES:
        given = [name for name in names if layer.get(name) is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} say the same thing, and both are given.", "Leave one of them out.")
        kept = {key: value for key, value in kept.items() if not given or key not in names}
    for key, block in layer.items():
        if isinstance(block, Mapping):
            inner = kept.get(key)
            below = _without_replaced(inner if isinstance(inner, Mapping) else {}, block)
            kept |= {key: below} if isinstance(inner, Mapping) else {}
    return kept


TESTBED, PAPER = "testbed", "paper"
"""The recipes that a command takes its defaults from: without --model, and with one."""


def default_recipe(*layers: Mapping[str, Any]) -> str:
    """The recipe that a command takes its defaults from where none is named.

    Args:
        layers: options and what ``--set`` says.
    """
    return PAPER if any(layer.get("model") is not None for layer in layers) else TESTBED


def resolve(
    cls: type[R],
    command: str,
    recipe: str | os.PathLike[str] | R | None,
    options: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    fit: Fit | None = None,
    partial: bool = False,
    advise: Advise | None = None,
) -> R:
    """The recipe's section for the command, then explicit options (None means not given), then what ``--set`` says.

    Nested keys may be written with dots: ``{"builder.rho_th": 0.98}``; mappings are merged key by key.

    Args:
        recipe: a name, a YAML file, or a recipe that was resolved before; None takes the testbed's where options and
            overrides name no model, and the paper's where they do.
        overrides: as ``--set`` gives them; None overrides with None.
        fit: adapts the recipe's section to what the options chose; what it sets to None the command can do without.
        partial: leave empty what nobody names, such as the model, in place of refusing it.
        advise: what to say of an unknown key, beside these values.

    Raises:
        UsageError: a setting that is unknown, missing or of another type, or another method than the one that a recipe
            was resolved for.
    """
    given = nested({key: value for key, value in options.items() if is_given(value)})
    overrides = nested(overrides or {})
    for layer in (given, overrides):
        _refuse_types(cls, layer, command)
    method = {**given, **overrides}.get("method")
    recipe = default_recipe(given, overrides) if recipe is None else recipe
    if isinstance(recipe, cls):
        _refuse_other_method(recipe, command, method)
        name, own = "the one given", _without_empty(cls, as_plain(recipe))
    elif isinstance(recipe, str | os.PathLike):
        name = os.fspath(recipe)
        own = section(name, command, cls, fit, method)
    else:
        raise UsageError(
            f"The recipe is a {type(recipe).__name__}, which is none of {command}.",
            "Give a name, a file or its recipe.",
        )
    fitting = fit(own, merge(own, given, overrides)) if fit else own
    values = in_layers(fitting, merge(given, overrides))
    try:
        refuse_unknown(cls, values, f"{command} recipe")  # first: what is missing may be there, misspelt
        if partial:
            values |= {key: empty for key, empty in _empty(cls).items() if values.get(key) is None}
        else:
            _refuse_missing(cls, values, command, name, [key for key, value in fitting.items() if value is None])
        return build(cls, values, f"{command} recipe")
    except UnknownSettingError as error:
        raise UnknownSettingError(
            error.where, error.name, hint=advise(error, values) if advise else error.hint
        ) from error


def _refuse_other_method(recipe: Any, command: str, method: str | None) -> None:
    """A recipe that was resolved has lost what its file says of other methods.

    Raises:
        UsageError: another one is chosen.
    """
    registry: Registry[Any] | None = getattr(recipe, "registry", None)
    if registry and method is not None and registry.current_name(method) != recipe.method:
        raise UsageError(
            f"The recipe given was resolved for the method {recipe.method}, and {method} is chosen.",
            f"Resolve it for that one: mmpref.recipe(NAME, {command!r}, method={method!r}).",
        )


def _empty(cls: type) -> dict[str, Any]:
    """What stands for a setting without a default that nobody names: None where it may be, else the empty value."""
    hints = type_hints(cls)
    types = {name: (hints[name], *typing.get_args(hints[name])) for name in _required(cls)}
    return {name: None if type(None) in known else "" if str in known[:1] else () for name, known in types.items()}


def _without_empty(cls: type, section: Mapping[str, Any]) -> dict[str, Any]:
    required = _required(cls)
    return {key: value for key, value in section.items() if key not in required or value not in ("", [])}


def _required(cls: type) -> list[str]:
    """Names of the settings without a default."""
    missing = dataclasses.MISSING
    return [
        field.name for field in dataclasses.fields(cls) if field.default is missing and field.default_factory is missing
    ]


def is_given(option: Any) -> bool:
    """Whether an option says anything: not None, and no empty list of what can be repeated."""
    return option is not None and not (isinstance(option, tuple | list) and not option)


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a": {"b": value}}`` of ``{"a.b": value}``."""
    whole: dict[str, Any] = {}
    for key, value in settings.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        whole = merge(whole, value)
    return whole


_OPTIONS = {"benchmarks": "benchmark"}
"""Options that are not called as the setting is: each gives one of several."""


def _refuse_missing(
    cls: type, values: Mapping[str, Any], command: str, recipe_name: str, dispensable: Collection[str] = ()
) -> None:
    """Name the option of a setting that neither the recipe nor the command line has given.

    Args:
        dispensable: settings that may be None.

    Raises:
        UsageError: one that the command cannot do without.
    """
    for name in _required(cls):
        if values.get(name) is None and name not in dispensable:
            raise UsageError(
                f"The {command} recipe lacks the setting {name!r} ({recipe_name} names none).",
                f"Give it with --{_OPTIONS.get(name, name).replace('_', '-')}.",
            )
