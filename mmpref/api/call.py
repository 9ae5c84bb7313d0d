"""A command of mmpref with its options: as it is resolved, and as it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmpref.api import options as api
from mmpref.api.wording import in_section
from mmpref.recipes import resolve


@dataclass(frozen=True)
class Call:
    """A command of mmpref with its options, as it is resolved and as it is written.

    Args:
        command: such as ``train``.
        recipe: name or file.
        options: of the command, as its Python function has them.
        set: what ``--set`` says, nested.
    """

    command: str
    recipe: str
    options: Mapping[str, Any]
    set: Mapping[str, Any]

    def resolved(self) -> Any:
        """Its recipe.

        Raises:
            UsageError: a setting that is unknown, missing or of another type.
        """
        resolvers: dict[str, Any] = {
            "build-dataset": api.build_recipe,
            "train": api.train_recipe,
            "evaluate": api.evaluate_recipe,
        }
        with in_section(self.recipe, self.command):
            return resolvers[self.command](recipe=self.recipe, set=self.set, **self.options)

    def check(self) -> None:
        """See that the blocks of methods, benchmarks and TRL are such that the work takes them.

        Raises:
            UsageError: they are not.
        """
        api.recipe(self.recipe, self.command, set=self.set, **self.options)

    def arguments(self) -> list[str]:
        """Behind ``mmpref``, but for ``--output``."""
        words = [self.command, "--recipe", self.recipe]
        for name, value in self.options.items():
            flag = "--benchmark" if name == "benchmarks" else f"--{name.replace('_', '-')}"
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [flag, str(one)]
        for key, value in _flat(self.set):
            words += ["--set", f"{key}={_as_yaml(value)}"]
        return words


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_yaml(value: Any) -> str:
    """A value as ``--set`` reads it back: a text as it is, where that is what it means."""
    plain = isinstance(value, str) and resolve.parse_set([f"k={value}"])["k"] == value
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
