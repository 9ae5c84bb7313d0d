"""Names of the options of TRL's `DPOConfig`, out of its source text: to import it takes seconds, and a mistyped name is
to be told at once."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path

_SOURCES = (
    ("transformers", "training_args.py", "TrainingArguments"),
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("trl", "trainer/dpo_config.py", "DPOConfig"),
)
"""A package, a file in it, and a class in that; each class inherits from the one before."""


@cache
def dpo_names() -> tuple[str, ...]:
    """Every option's name; none where the sources are not there as they were, so that only an import can tell."""
    bases = [[], *([name] for *_, name in _SOURCES)]
    by_class = [_fields(*source, inherits) for source, inherits in zip(_SOURCES, bases, strict=False)]
    return tuple(dict.fromkeys(name for names in by_class for name in names)) if all(by_class) else ()


def _fields(package: str, file: str, class_name: str, bases: list[str]) -> list[str]:
    spec = importlib.util.find_spec(package)  # which imports nothing
    paths = [Path(folder) / file for folder in (spec and spec.submodule_search_locations) or ()]
    for node in (node for path in paths if path.is_file() for node in ast.parse(path.read_bytes()).body):
        if isinstance(node, ast.ClassDef) and node.name == class_name and [*map(ast.unparse, node.bases)] == bases:
            targets = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
            return [target.id for target in targets if isinstance(target, ast.Name)]
    return []
