"""What a part of a plan names in place of a value: ``{data: PART}`` stands for its pairs, ``{row: NAME}`` for the
adapter of that row, of the same base and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

REFERENCES = ("data", "row")


def references(value: Any) -> Iterator[tuple[str, str]]:
    """What a part's settings name: ``("data", part)`` and ``("row", name)``, at any depth."""
    if (reference := reference_of(value)) is not None:
        yield reference
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def reference_of(value: Any) -> tuple[str, str] | None:
    """``("data", NAME)`` of ``{data: NAME}``, ``("row", NAME)`` of ``{row: NAME}``; None of anything else."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind in REFERENCES and isinstance(name, str):
            return kind, name
    return None
