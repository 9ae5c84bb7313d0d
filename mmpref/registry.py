"""Names that users can type, found lazily: one registry a kind, one module an entry.

A package named by an entry point of the group ``mmpref.<kind>`` contributes one entry for each of its public
modules: the file name is the entry's name (``_`` becomes ``-``) and one attribute of the module is its value.
mmpref's own entries are registered in its pyproject.toml exactly as a plugin's would be in its own.

An entry that was renamed keeps its former names: the package's ``__init__`` maps them to the present ones, as
``FORMER_NAMES = {"old": "new"}``. They are understood, and told of in a warning once, but not listed.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar, cast

from mmpref.errors import UsageError
from mmpref.log import logger

T = TypeVar("T")


_BATCH = ("batch_size", "per_device_train_batch_size")
_HABITS: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "bs": _BATCH,
    "batch": _BATCH,
    "train_batch_size": _BATCH,
    "epoch": ("epochs", "num_train_epochs"),
    "num_epochs": ("epochs", "num_train_epochs"),
    "num_train_epochs": ("epochs",),
    "steps": ("max_steps",),
    "wd": ("weight_decay",),
    "warmup": ("warmup_ratio", "warmup_steps"),
    "grad_accum": ("gradient_accumulation_steps",),
    "accumulation_steps": ("gradient_accumulation_steps",),
    "rank": ("r",),
    "lora_r": ("r",),
    "lora_rank": ("r",),
    "lora_alpha": ("alpha",),
    "lora_dropout": ("dropout",),
    "base_model": ("model",),
    "model_id": ("model",),
    "model_name": ("model",),
    "model_path": ("model",),
    "model_name_or_path": ("model",),
    "peft": ("adapter",),
    "data": ("dataset", "source"),
    "dataset_id": ("dataset", "source"),
    "dataset_name": ("dataset", "source"),
    "train_data": ("dataset", "source"),
    "images": ("image_root",),
    "image_dir": ("image_root",),
    "image_folder": ("image_root",),
    "task": ("benchmark", "benchmarks"),
    "tasks": ("benchmark", "benchmarks"),
    "out": ("output",),
    "out_dir": ("output",),
    "output_dir": ("output",),
    "max_samples": ("limit",),
    "num_samples": ("limit",),
    "config": ("recipe",),
    "repo_id": ("hub_id", "hub_model_id", "hub_dataset_id"),
    "push_to_hub": ("push",),
    "temp": ("temperature",),
    "max_tokens": ("max_new_tokens",),
}
"""What other tools call a thing -> what options and settings call it here, the likeliest first: letters alone would
find ``--help`` for ``--lr``."""


_SHORT = 4
"""Letters below which a name is not looked for in much longer ones."""


def called_here(name: str) -> tuple[str, ...]:
    """Names that a thing may have here which is called so elsewhere; none where it is no known habit."""
    return _HABITS.get(_plain(name), ())


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()


def suggest(name: str, known: Sequence[str]) -> str:
    """A 'did you mean' sentence, or the list of what there is."""
    if not known:
        return "There are none."
    return did_you_mean(name, known) or f"There are: {', '.join(sorted(known))}."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence with the name for what others call so, or else the closest one; "" where none is close."""
    names = list(known)
    close = [one for habit in called_here(name) for one in names if _plain(one) == habit]
    close = close or [one for one in difflib.get_close_matches(name, names) if _is_near(name, one)]
    return f"Did you mean {close[0]!r}?" if close else ""


def _is_near(name: str, known: str) -> bool:
    """Whether a name may be meant for another that has letters in common with it: those of a very short one, such as
    ``id``, stand in many longer words."""
    shorter, longer = sorted((name, known), key=len)
    return len(shorter) >= _SHORT or len(longer) - len(shorter) <= 1 or longer.startswith(shorter)


@cache
def _modules(group: str) -> dict[str, str]:
    """Name -> dotted module of every entry of a group."""
    modules: dict[str, str] = {}
    for point in entry_points(group=group):
        spec = importlib.util.find_spec(point.value)
        for info in pkgutil.iter_modules(spec.submodule_search_locations if spec else None):
            if not info.name.startswith("_"):
                modules[info.name.replace("_", "-")] = f"{point.value}.{info.name}"
    return dict(sorted(modules.items()))


@cache
def _former_names(group: str) -> dict[str, str]:
    """Former name -> name of the entries of a group that were renamed."""
    former: dict[str, str] = {}
    for point in entry_points(group=group):
        if importlib.util.find_spec(point.value):
            former.update(getattr(importlib.import_module(point.value), "FORMER_NAMES", {}))
    return former


@cache
def _warn_of_former_name(kind: str, former: str, name: str) -> None:
    logger.warning("Warning: the %s %r is called %r now.", kind, former, name)


@dataclass(frozen=True)
class Registry(Generic[T]):
    """One kind of thing that users name.

    Args:
        kind: the singular noun for messages, such as ``benchmark``.
        group: the entry-point group, such as ``mmpref.benchmarks``.
        attribute: what each module calls its entry, such as ``BENCHMARK``.
    """

    kind: str
    group: str
    attribute: str

    @property
    def _modules(self) -> dict[str, str]:
        return _modules(self.group)

    def names(self) -> list[str]:
        return list(self._modules)

    def current_name(self, name: str) -> str:
        """What the entry of that name is called now; any other name as it is. A former name is warned of once."""
        if name in self._modules or (current := _former_names(self.group).get(name)) is None:
            return name
        _warn_of_former_name(self.kind, name, current)
        return current

    def get(self, name: str) -> T:
        """The entry of that name, or of that former name.

        Raises:
            UsageError: there is none.
        """
        return cast(T, getattr(self.module(name), self.attribute))

    def module(self, name: str) -> ModuleType:
        """The module of that name, or of that former name.

        Raises:
            UsageError: there is none.
        """
        current = self.current_name(name)
        if current not in self._modules:
            raise UsageError(f"There is no {self.kind} {name!r}.", suggest(name, self.names()))
        return importlib.import_module(self._modules[current])

    def summary(self, name: str) -> str:
        """First line of the entry's module docstring."""
        doc = self.module(name).__doc__ or ""
        return doc.strip().splitlines()[0] if doc.strip() else ""


def yaml_files(group: str) -> dict[str, Path]:
    """The YAML files, by stem, of every package that an entry point of the group names: recipes, plans of studies."""
    return {path.stem: path for folder in _folders(group) for path in sorted(folder.glob("*.yaml"))}


@cache
def _folders(group: str) -> list[Path]:
    """Of every package of the group: to look for entry points is to read the metadata of all that is installed."""
    specs = [importlib.util.find_spec(point.value) for point in entry_points(group=group)]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or []]


def resolve_path(reference: str) -> str:
    """Turn ``pkg:<package>/<path>`` into the path of that file or folder inside an installed package, and ``~`` into
    the user's home.

    Anything else is returned as it is. This is how a pip-installed package can ship a model or a word list.

    Raises:
        UsageError: no such package, or no such path in it.
    """
    if not reference.startswith("pkg:"):
        return os.path.expanduser(reference)
    package, _, inner = reference.removeprefix("pkg:").partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    for location in (spec.submodule_search_locations or []) if spec else []:
        root = Path(location).resolve()
        path = (root / inner).resolve()
        if path.is_relative_to(root) and path.exists():
            return str(path)
    raise UsageError(f"{reference!r} names nothing in an installed package.", "Check the package and the path in it.")
