"""Rows of ``results.json``: dataclasses of numbers to what JSON can hold, and back, where strangers may write the file.

``part`` is called ``split`` there, and a number that is undefined is null, as JSON has no NaN.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

_TYPES = {"str": str, "int": int, "bool": bool, "float": int | float, "Mapping[str, Any]": Mapping}
"""What a field of a type holds."""


def as_row(estimate: DataclassInstance) -> dict[str, Any]:
    """As it stands in the file."""
    row = dataclasses.asdict(estimate)
    row |= {name: None for name, number in row.items() if isinstance(number, float) and math.isnan(number)}
    return {"split" if name == "part" else name: value for name, value in row.items()}


def from_row(cls: type[T], row: Mapping[str, Any]) -> T:
    """What a row lacks, or has as null, is the field's default; of ``value``, ``low`` and ``high`` it is NaN.

    Raises:
        TypeError: a field holds something else, or is not there and has no default.
    """
    names = {"split" if column.name == "part" else column.name: column.name for column in dataclasses.fields(cls)}
    known = {name: row[key] for key, name in names.items() if row.get(key) is not None}
    known |= {name: float(known.get(name, "nan")) for name in ("value", "low", "high")}
    for column in dataclasses.fields(cls):
        wanted = _TYPES.get(str(column.type).removesuffix(" | None"))
        if wanted and column.name in known and not isinstance(known[column.name], wanted):
            raise TypeError(f"{column.name} is {known[column.name]!r}")
    return cls(**known)
