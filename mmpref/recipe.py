"""Recipes: YAML <-> frozen dataclasses, named recipes, overrides, and the hash that identifies a resolved recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from mmpref.errors import InputError, UsageError
from mmpref.registry import package_files, suggest
from mmpref.text_files import read_text

R = TypeVar("R")
GROUP = "mmpref.recipes"
COMMANDS = ("build-dataset", "train", "evaluate")
"""The sections that a recipe may have."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""How a model is loaded; ``auto`` is fp32 on a CPU."""


def names() -> list[str]:
    """Every recipe that an installed package offers."""
    return sorted(package_files(GROUP, ".yaml"))


def load(name_or_path: str) -> dict[str, Any]:
    """Read a named recipe or a YAML file: one mapping a command, each of that command's keys to values.

    Raises:
        UsageError: no recipe of that name and no such file.
        InputError: not YAML, not a mapping, or a section of no command.
    """
    known = package_files(GROUP, ".yaml")
    path = known.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise UsageError(f"There is no recipe {name_or_path!r}.", suggest(name_or_path, sorted(known)))
    try:
        content = yaml.load(read_text(path), _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a mapping from commands to settings.")
    for command, section in content.items():
        if command not in COMMANDS:
            raise InputError(f"{path} has a section {command!r}.", suggest(str(command), list(COMMANDS)))
        if not isinstance(section, Mapping | None):
            raise InputError(f"The section {command!r} of {path} is {section!r}; it must be a mapping.")
    return content


def parse_set(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["trainer.learning_rate=5e-6"]`` into ``{"trainer": {"learning_rate": 5e-6}}``; values are YAML.

    Raises:
        UsageError: an assignment without ``=`` or with an empty key.
    """
    nested: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise UsageError(f"--set {assignment!r} is not of the form KEY=VALUE.", "Example: --set trainer.seed=1")
        target = nested
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise UsageError(f"--set {assignment!r}: {parent!r} already has a value.")
        target[last] = _scalar(text)
    return nested


def _scalar(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return text


class _Loader(yaml.SafeLoader):
    """PyYAML's, with numbers as YAML 1.2 has them and a reader takes them: 5e-6 is one, 010 is ten, 1:30 is text. Dates
    are text too; yes, no, on and off stay truth values."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in known if tag.rpartition(":")[2] not in ("int", "float", "timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    return int(text, 0 if _PREFIXED.match(text) else 10)


_PREFIXED = re.compile("[-+]?0[xob]")
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+)$"),
    [*"-+0123456789"],
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|"
        r"\.(?:nan|NaN|NAN)$"
    ),
    [*"-+.0123456789"],
)


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win; mappings are merged key by key. Inputs are left as they are."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def build(cls: type[R], values: Mapping[str, Any], where: str = "recipe") -> R:
    """Make a (nested) frozen dataclass of plain values, checking names and types.

    Raises:
        UsageError: an unknown key, a missing one, or a value of another type.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise UsageError(f"{where} has no setting {key!r}.", suggest(str(key), list(fields)))
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UsageError(f"{where} lacks the setting {name!r}.")
    return cls(**{key: _coerce(value, hints[key], f"{where}.{key}") for key, value in values.items()})


_NAMES = {int: "a whole number", float: "a number"}


def _coerce(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        for argument in inner[:-1]:
            with contextlib.suppress(UsageError):
                return _coerce(value, argument, where)
        word = typing.get_args(inner[-1])  # of a number or a word, what else the number could be is said too
        if len(inner) == 1 or typing.get_origin(inner[-1]) is not typing.Literal or value in word:
            return _coerce(value, inner[-1], where)
        allowed = [*(_NAMES.get(one, str(one)) for one in inner[:-1]), *map(repr, word)]
        raise UsageError(f"{where} is {value!r}; it must be {' or '.join(allowed)}.")
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise UsageError(f"{where} is {value!r}; it must be one of {', '.join(map(str, arguments))}.")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return build(hint, value, where)
        if isinstance(value, hint):
            return value
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_coerce(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {key: _coerce(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise UsageError(f"{where} is {value!r}; it must be of type {expected}.")


def as_plain(recipe: Any) -> dict[str, Any]:
    """A recipe dataclass as JSON-ready values (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def fingerprint(recipe: Any) -> str:
    """SHA-256 (hex) of a resolved recipe, independent of key order."""
    text = json.dumps(as_plain(recipe), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
