"""Types and values of settings in the words of a recipe file: what a user reads and writes is YAML."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from mmpref.errors import brief

_TYPES = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}
_COUNTED = ("whole number", "number", "list", "mapping")
"""What begins a type's name that takes an article."""
_EXAMPLE = "example"


def example(text: str) -> dict[str, str]:
    """Metadata of a setting that is a mapping: one that it may be, in YAML."""
    return {_EXAMPLE: text}


def is_block(hint: Any) -> bool:
    """Whether values of a type are mappings in a recipe."""
    return dataclasses.is_dataclass(hint) or (typing.get_origin(hint) or hint) in (dict, Mapping)


def type_name(hint: Any) -> str:
    """A type in words, such as ``whole number or null``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(one) for one in arguments))
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if origin in (tuple, list):
        return f"list of {type_name(arguments[0])}s" if arguments else "list"
    if is_block(hint):
        return "mapping"
    return _TYPES.get(hint) or str(getattr(hint, "__name__", hint))


def expected(hint: Any) -> str:
    """What a value of a type must be, such as ``a whole number or 'auto'``; that it may be null is left out."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        lists_last = sorted(arguments, key=lambda one: typing.get_origin(one) is tuple)
        return " or ".join(expected(one) for one in lists_last if one is not type(None))
    if origin is typing.Literal:
        return " or ".join(map(as_written, arguments))
    if is_block(hint):
        return "a mapping from keys to values"
    name = type_name(hint)
    return f"a {name}" if name.startswith(_COUNTED) else name


def as_written(value: Any) -> str:
    """A value as YAML has it on one line, cut where it is long: rows in memory can be."""
    return brief(_flow(value))


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(held)}' for key, held in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def example_of(field: dataclasses.Field[Any], hint: Any) -> str:
    """A setting as a recipe may have it, such as ``lora: {r: 128}``; "" where nothing is known."""
    given = field.metadata.get(_EXAMPLE, "")
    if not given and dataclasses.is_dataclass(hint):
        inner = [text for one in dataclasses.fields(hint) if (text := _default(one))]
        given = f"{{{inner[0]}}}" if inner else ""
    return f"{field.name}: {given}" if given else _default(field)


def _default(field: dataclasses.Field[Any]) -> str:
    """A setting with its default, where that shows what other values look like."""
    tells = isinstance(field.default, int | float | str) and field.default != ""
    return f"{field.name}: {as_written(field.default)}" if tells else ""
