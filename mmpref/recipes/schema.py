"""Recipes as frozen dataclasses: made of plain values and checked, plain again, and the hash that identifies one."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from mmpref.errors import UsageError
from mmpref.recipes.in_words import as_written, example_of, expected
from mmpref.recipes.names import at_home
from mmpref.registry import suggest

R = TypeVar("R")

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""How a model is loaded; ``auto`` is fp32 on a CPU."""


OPTIONAL = {"optional": True}
"""Metadata of a setting that came later: the plain form leaves it out while it is None, so that recipes that do not use
it keep their hash."""
TEXT = {"text": True}
"""Metadata of a setting of words: YAML takes a bare ``yes`` or ``no``, of other languages too, for a truth value."""
_TRUTHS = {True: "yes", False: "no"}


type_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)
"""Of a recipe's class; a study asks for them thousands of times."""


class UnknownSettingError(UsageError):
    """A key that there is not.

    Args:
        where: it was looked for.
        name: the key.
        hint: by default the one of the same place that is most like it.
    """

    def __init__(self, where: str, name: str, known: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(f"{where} has no setting {name!r}.", hint or suggest(name, known))
        self.where, self.name = where, name


class ResolvedBlock(dict[str, Any]):
    """Settings as a recipe resolves to them: where it leaves one out, nothing is filled in."""


def build(cls: type[R], values: Mapping[str, Any], where: str = "recipe") -> R:
    """Make a (nested) frozen dataclass of plain values, checking names and types; ``~`` in what names a path is the
    user's home.

    Raises:
        UnknownSettingError: an unknown key.
        UsageError: no mapping, a missing key, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise WrongTypeError(values, cls, where)
    refuse_unknown(cls, values, where)
    hints = type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UsageError(f"{where} lacks the setting {name!r}.")
    coerced = {key: _value(fields[key], value, hints[key], f"{where}.{key}") for key, value in values.items()}
    return cls(**{key: at_home(fields[key], value) for key, value in coerced.items()})


def refuse_types(cls: type, values: Any, where: str) -> None:
    """See that values which others are still to be merged with are of their types, before anything looks into them. Of
    nested dataclasses only that they are mappings; unknown keys, and null, are left to `build`.

    Raises:
        UsageError: no mapping, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise WrongTypeError(values, cls, where)
    hints = type_hints(cls)
    for field in dataclasses.fields(cls):
        if (value := values.get(field.name)) is not None:
            _value(field, value, hints[field.name], f"{where}.{field.name}", inside=False)


def _value(field: dataclasses.Field[Any], value: Any, hint: Any, where: str, *, inside: bool = True) -> Any:
    """A setting's value as its field has it.

    Args:
        inside: look into a nested dataclass too.

    Raises:
        UsageError: it is of another type; an example says what it could be.
    """
    if not inside and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return value
    try:
        return _coerce(_as_text(value) if field.metadata.get("text") else value, hint, where)
    except WrongTypeError as error:
        example = example_of(field, hint) if error.where == where else ""
        raise UsageError(error.message, f"Example: `{example}`" if example else error.hint) from error


def _as_text(value: Any) -> Any:
    """A value, or each of a list, as the word that was written (`TEXT`)."""
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in value]
    return _TRUTHS[value] if isinstance(value, bool) else value


def refuse_unknown(cls: type, values: Mapping[str, Any], where: str = "recipe") -> None:
    """See that a dataclass has a field of every key's name.

    Raises:
        UnknownSettingError: it has none.
    """
    known = [field.name for field in dataclasses.fields(cls)]
    if (key := next((key for key in values if key not in known), None)) is not None:
        raise UnknownSettingError(where, str(key), known)


class WrongTypeError(UsageError):
    """A value of another type than the setting ``where``, or a part of its value, has."""

    def __init__(self, value: Any, hint: Any, where: str) -> None:
        super().__init__(f"{where} is {as_written(value)}; it must be {expected(hint)}.")
        self.where = where


def _coerce(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, hint, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise UsageError(f"{where} is {as_written(value)}; it must be one of {', '.join(map(str, arguments))}.")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return build(hint, value, where)
        if isinstance(value, hint):
            return value
    if origin is tuple and arguments[0] is str and isinstance(value, str):
        value = [value]  # as a recipe file has one of several that there may be
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_coerce(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping | None):  # a key with nothing behind it is an empty mapping
        parts = (value or {}).items()
        return ResolvedBlock({key: _coerce(item, arguments[1], f"{where}.{key}") for key, item in parts})
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise WrongTypeError(value, hint, where)


def _coerce_union(value: Any, hint: Any, where: str) -> Any:
    """A value as the first of several types that it is of."""
    arguments = typing.get_args(hint)
    if value is None and type(None) in arguments:
        return None
    several = [argument for argument in arguments if argument is not type(None)]
    if len(several) == 1:
        return _coerce(value, several[0], where)
    if isinstance(value, str):  # before it is a list of one, it is a text
        several = [argument for argument in several if typing.get_origin(argument) is not tuple] or several
    for argument in several:
        with contextlib.suppress(UsageError):
            return _coerce(value, argument, where)
    raise WrongTypeError(value, hint, where)


def as_plain(recipe: Any) -> dict[str, Any]:
    """A recipe dataclass as JSON-ready values (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(_as_mapping(recipe)))
    return plain


def _as_mapping(value: Any) -> Any:
    """As `dataclasses.asdict`, without `OPTIONAL` settings that are None."""
    if dataclasses.is_dataclass(value):
        named = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {
            field.name: _as_mapping(held)
            for field, held in named.items()
            if held is not None or not field.metadata.get("optional")
        }
    if isinstance(value, Mapping):
        return {key: _as_mapping(held) for key, held in value.items()}
    return [_as_mapping(held) for held in value] if isinstance(value, list | tuple) else value


def fingerprint(recipe: Any) -> str:
    """SHA-256 (hex) of a resolved recipe, independent of key order."""
    text = json.dumps(as_plain(recipe), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
