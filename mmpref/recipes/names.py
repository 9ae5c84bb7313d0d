"""What the values of settings name: said once, in a field's metadata, and looked for before any work
(`mmpref.api.checks`)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

Kind = Literal["model", "adapter", "embedder", "table", "path", "roots", "annotator"]

T = TypeVar("T")
_KIND, _UNLESS = "names", "names_nothing"


def names(kind: Kind, unless: str = "") -> dict[str, str]:
    """Metadata of a field whose value, or each of whose values, names something of a kind.

    Args:
        kind: ``model`` is a vision-language model, ``embedder`` one of sentence-transformers; ``table`` any source of
            rows, ``path`` a file or folder, ``roots`` folders and archives of images; ``annotator`` whoever compares,
            rewrites, judges, detects or rewards.
        unless: a value that names nothing.
    """
    return {_KIND: kind, _UNLESS: unless} if unless else {_KIND: kind}


class Named(NamedTuple):
    """A value that names something.

    Args:
        key: of the setting, dotted.
    """

    key: str
    kind: Kind
    values: tuple[str, ...]


def named(settings: Any, prefix: str = "") -> Iterator[Named]:
    """What a (nested) dataclass of settings names, in the order of its fields; what is None or empty names nothing."""
    for field in dataclasses.fields(settings):
        value, key = getattr(settings, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from named(value, f"{key}.")
        elif (kind := _kind(field, value)) and value and not isinstance(value, Mapping):
            yield Named(key, kind, (value,) if isinstance(value, str) else tuple(value))


def named_of(settings: Any, kind: Kind) -> list[str]:
    """All values in a (nested) dataclass of settings that name something of a kind."""
    return [value for one in named(settings) if one.kind == kind for value in one.values]


def keys_of(settings: type[Any], kind: Kind, prefix: str = "") -> list[str]:
    """The keys, dotted, of a (nested) dataclass of settings that name something of a kind where nobody says another;
    unlike `named`, also of one that cannot be made without values."""
    keys = []
    for field in dataclasses.fields(settings):
        key, nested = prefix + field.name, field.default_factory
        if isinstance(nested, type) and dataclasses.is_dataclass(nested):
            keys += keys_of(nested, kind, f"{key}.")
        elif _kind(field, field.default) == kind and field.default:
            keys.append(key)
    return keys


def renamed(settings: T, kind: Kind, name: Callable[[str], str]) -> T:
    """A (nested) dataclass of settings with other names for what it names of a kind."""
    assert dataclasses.is_dataclass(settings)
    assert not isinstance(settings, type)
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = renamed(value, kind, name)
        elif _kind(field, value) == kind and value and not isinstance(value, Mapping):
            changes[field.name] = name(value) if isinstance(value, str) else tuple(map(name, value))
    return dataclasses.replace(settings, **changes)


def at_home(field: dataclasses.Field[Any], value: Any) -> Any:
    """A field's value with the user's home in the place of a ``~`` that a path begins with, where it names something:
    no shell has seen what stands in a file, in ``--set KEY=VALUE`` or in Python."""
    if _kind(field, value) is None:
        return value
    if isinstance(value, str):
        return os.path.expanduser(value)
    return tuple(map(os.path.expanduser, value)) if isinstance(value, tuple) else value


def is_path_field(field: dataclasses.Field[Any]) -> bool:
    """Whether a field's value, or each of its values, is a path of this machine."""
    return field.metadata.get(_KIND) in ("path", "roots")


def may_be_path(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a field's value names something that may be a path of this machine, and may be something else."""
    return _kind(field, value) is not None


def _kind(field: dataclasses.Field[Any], value: Any) -> Any:
    return None if value == field.metadata.get(_UNLESS) else field.metadata.get(_KIND)
