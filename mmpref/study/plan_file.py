"""Files of plans: read, and put over one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mmpref.errors import InputError
from mmpref.recipes.resolve import YamlLoader
from mmpref.text_files import read_text


def read_file(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        InputError: it is no such file.
    """
    try:
        content = yaml.load(read_text(path), YamlLoader)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a mapping.")
    return content


def read_extended(path: Path) -> dict[str, Any]:
    """The content of a plan's file, over that of the file that it extends, and so on.

    Raises:
        InputError: one of them is not there, or no mapping in YAML.
    """
    content = read_file(path)
    if (name := content.pop("extends", None)) is None:
        return content
    return over(read_extended(path.parent / str(name)), content)


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
