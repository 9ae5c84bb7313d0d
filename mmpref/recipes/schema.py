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
        UsageError: a missing one, or a value of another type.
    """
    refuse_unknown(cls, values, where)
    hints = type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UsageError(f"{where} lacks the setting {name!r}.")
    given = {key: _as_text(value) if fields[key].metadata.get("text") else value for key, value in values.items()}
    coerced = {key: _coerce(value, hints[key], f"{where}.{key}") for key, value in given.items()}
    return cls(**{key: at_home(fields[key], value) for key, value in coerced.items()})


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


_NAMES = {int: "a whole number", float: "a number"}


def _coerce(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, arguments, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise UsageError(f"{where} is {_short(value)}; it must be one of {', '.join(map(str, arguments))}.")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return build(hint, value, where)
        if isinstance(value, hint):
            return value
    if origin is tuple and arguments[0] is str and isinstance(value, str):
        value = [value]  # as a recipe file has one of several that there may be
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_coerce(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return ResolvedBlock({key: _coerce(item, arguments[1], f"{where}.{key}") for key, item in value.items()})
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise UsageError(f"{where} is {_short(value)}; it must be of type {expected}.")


def _coerce_union(value: Any, arguments: tuple[Any, ...], where: str) -> Any:
    """A value as the first of several types that it is of."""
    if value is None and type(None) in arguments:
        return None
    inner = [argument for argument in arguments if argument is not type(None)]
    if isinstance(value, str):  # before it is a list of one, it is a text
        inner = [argument for argument in inner if typing.get_origin(argument) is not tuple] or inner
    for argument in inner[:-1]:
        with contextlib.suppress(UsageError):
            return _coerce(value, argument, where)
    word = typing.get_args(inner[-1])  # of a number or a word, what else the number could be is said too
    if len(inner) == 1 or typing.get_origin(inner[-1]) is not typing.Literal or value in word:
        return _coerce(value, inner[-1], where)
    allowed = [*(_NAMES.get(one, str(one)) for one in inner[:-1]), *map(repr, word)]
    raise UsageError(f"{where} is {_short(value)}; it must be {' or '.join(allowed)}.")


def _short(value: Any) -> str:
    """A value as a message shows it: rows in memory can be long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


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
