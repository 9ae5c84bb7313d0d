"""A row of ``results.json``, typed: strangers may write the file, and older versions did not write all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_TYPES = {"str": str, "int": int, "bool": bool, "float": int | float, "Mapping[str, Any]": Mapping}
"""What a field of a type holds, where strangers may write the file."""


def typed_row(cls: type[T], row: Mapping[str, Any]) -> T:
    """A value or difference from its row: what that lacks, or has as null, is the field's default; of the three numbers
    it is NaN.

    Raises:
        TypeError: a field holds what it cannot.
    """
    names = {"split" if column.name == "part" else column.name: column.name for column in dataclasses.fields(cls)}
    known = {name: row[key] for key, name in names.items() if row.get(key) is not None}
    known |= {name: float(known.get(name, "nan")) for name in ("value", "low", "high")}
    for column in dataclasses.fields(cls):
        wanted = _TYPES.get(str(column.type).removesuffix(" | None"))
        if wanted and column.name in known and not isinstance(known[column.name], wanted):
            raise TypeError(f"{column.name} is {known[column.name]!r}")
    return cls(**known)
