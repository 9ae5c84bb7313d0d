"""Rows that differ in some settings only: a row with ``each`` stands for one row of every combination.

::

    rows:
      seen:
        data: bdhs
        train: dpo
        each: {data.builder.visible_tokens: [0, 1, 4], data.builder.guidance: {guided: true, free: false}}

makes ``seen-0-guided``, ``seen-0-free``, ``seen-1-guided`` and so on. A key begins with what it is of: a setting of the
row's ``data`` or ``train`` part, of which each row gets its own, or a key of the row itself (``limit``,
``set.trainer.num_train_epochs``). Values are a list, or a mapping from the names that rows are called by.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from mmpref.errors import UsageError
from mmpref.recipes.resolve import merge

EACH = "each"


def expand(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A plan's content in which no row stands for several.

    Args:
        where: the content is from, for messages.

    Returns:
        The content, with all rows, and the parts that they were given, under their own names.

    Raises:
        UsageError: ``each`` is no such mapping, is of a part that the row lacks, or makes a name that is taken.
    """
    rows = content.get("rows")
    if not isinstance(rows, Mapping):
        return dict(content)
    parts = {kind: dict(content.get(kind) or {}) for kind in ("data", "train")}
    expanded: dict[str, Any] = {}
    for name, row in rows.items():
        made = _variants(str(name), row, parts, where) if isinstance(row, Mapping) and EACH in row else [(name, row)]
        for variant, values in made:
            if variant in expanded:
                raise UsageError(f"{where}: two rows are called {variant!r}.")
            expanded[variant] = values
    return {**content, "rows": expanded, **{kind: made for kind, made in parts.items() if made}}


def _variants(
    name: str, row: Mapping[str, Any], parts: dict[str, dict[str, Any]], where: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row by its name; their parts are put into ``parts``."""
    axes = _axes(row[EACH], f"{where}: row {name!r}.{EACH}")
    labels = _labels(list(axes))
    common = {key: value for key, value in row.items() if key != EACH}
    for levels in itertools.product(*axes.values()):
        variant = "-".join((name, *(level for level, _ in levels)))
        values = {
            **common,
            "family": name,
            "levels": {label: level for label, (level, _) in zip(labels, levels, strict=True)},
        }
        for key, (_, value) in zip(axes, levels, strict=True):
            kind, _, setting = key.partition(".")
            if kind not in parts:
                values = merge(values, _nested(key, value))
                continue
            part = values.get(kind)
            if part not in parts[kind] or not setting:
                raise UsageError(f"{where}: row {name!r}.{EACH} names {key!r}, and the row's {kind} is {part!r}.")
            if part != variant and variant in parts[kind]:
                raise UsageError(f"{where}: {kind}.{variant} is there, and a row of {name!r} needs that name.")
            parts[kind][variant] = merge(parts[kind][part] or {}, _nested(setting, value))
            values[kind] = variant
        yield variant, values


def _axes(each: Any, where: str) -> dict[str, list[tuple[str, Any]]]:
    """By key, every value with the name that it is called by."""
    if not isinstance(each, Mapping) or not each:
        raise UsageError(f"{where} is {each!r}; it must be a mapping from settings to their values.")
    axes = {}
    for key, values in each.items():
        if not isinstance(values, Mapping | list) or not values:
            raise UsageError(
                f"{where}.{key} is {values!r}; it must be a list of values, or a mapping from names to values."
            )
        named = values.items() if isinstance(values, Mapping) else ((value, value) for value in values)
        axes[str(key)] = [(str(name), value) for name, value in named]
    return axes


def _nested(key: str, value: Any) -> dict[str, Any]:
    """A setting below its section; sections are one deep, and keys in them may have dots."""
    section, _, setting = key.partition(".")
    return {section: {setting: value}} if setting else {section: value}


def _labels(keys: list[str]) -> list[str]:
    """What readers call the settings: the last part of a key, or all of it where another ends alike."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return [name.replace("_", " ") if last.count(name) == 1 else key for name, key in zip(last, keys, strict=True)]
