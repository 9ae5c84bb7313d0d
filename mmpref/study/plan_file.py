"""Files of plans: found, read, and put over one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import InputError
from mmpref.recipes.yaml_text import parsed_file
from mmpref.registry import yaml_files

GROUP = "mmpref.studies"
"""The entry-point group of packages that hold plans."""


def names() -> list[str]:
    """Every plan that an installed package offers."""
    return sorted(name for name in yaml_files(GROUP) if not name.startswith("_"))


def find(name_or_path: str) -> Path | None:
    """The file of a plan: of that name, or a YAML file with ``rows``, its own or those of a plan that it extends; None
    where it is no plan's name."""
    if known := yaml_files(GROUP).get(name_or_path):
        return known
    path = Path(name_or_path).expanduser()
    return path if path.is_file() and _has_rows(path) else None


def _has_rows(path: Path, extending: tuple[Path, ...] = ()) -> bool:
    """Of its own, or by a file that it extends; a recipe may extend another recipe."""
    content = read_file(path)
    if "rows" in content or "extends" not in content:
        return "rows" in content
    below = _below(path, content["extends"]).resolve()
    return below.is_file() and below not in extending and _has_rows(below, (*extending, below))


def _below(path: Path, name: object) -> Path:
    """What a file says that it extends: a plan by name, or a file, from the folder of its own."""
    return yaml_files(GROUP).get(str(name)) or path.parent / Path(str(name)).expanduser()


def read_file(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        InputError: it is no such file, or has a key twice.
    """
    content = parsed_file(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path} must hold a mapping from keys to values.",
            "A recipe has sections, such as `train: {model: me/vlm}`, the plan of a study has `rows`.",
        )
    return content


def read_extended(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a plan's file, over that of the file that it extends, and so on.

    Args:
        extending: files that this one is read for.

    Raises:
        InputError: one of them is not there, no mapping in YAML, or extends itself.
    """
    if path.resolve() in extending:
        raise InputError(f"The plan {path} extends itself.")
    content = read_file(path)
    if (name := content.pop("extends", None)) is None:
        return content
    return over(read_extended(_below(path, name), (*extending, path.resolve())), content)


def over(content: Mapping[str, Any], scale: Mapping[str, Any]) -> dict[str, Any]:
    """A scale, or a plan that extends another, merged over its content key by key; what is null is taken away."""
    scaled = dict(content)
    for key, value in scale.items():
        if value is None:
            scaled.pop(key, None)
        else:
            old = scaled.get(key)
            scaled[key] = over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return scaled


def dotted(settings: Mapping[str, Any]) -> list[str]:
    """The keys of settings with those of the sections above them: ``a.b`` of ``{a: {b: 1}}``, and of ``{a.b: 1}``."""
    found = []
    for key, value in settings.items():
        below = dotted(value) if isinstance(value, Mapping) else []
        found += [f"{key}.{inner}" for inner in below] or [key]
    return found
