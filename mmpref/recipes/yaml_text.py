"""YAML as recipes, the plans of studies and ``--set`` are written in it."""

from __future__ import annotations

import functools
import pickle
import re
from pathlib import Path
from typing import Any

import yaml

from mmpref.errors import InputError, UsageError, brief, reason_of
from mmpref.text_files import read_text

NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises of text that it cannot read; too many digits and deep nesting are errors of Python's own."""


_HINT = "Leave one of them out, or put their values together."


class DuplicateKeyError(Exception):
    """A mapping has a key twice, of whose values one would be dropped."""


def parsed_file(path: Path) -> Any:
    """What a YAML file of recipes or studies holds, the caller's own to change.

    Raises:
        InputError: it cannot be read, is no YAML, or has a key twice.
    """
    try:
        return parsed(read_text(path))
    except NOT_YAML as error:
        raise InputError(f"{path} is not YAML: {reason_of(error).rstrip('.')}.") from error
    except DuplicateKeyError as error:
        raise InputError(f"{path} has {error}.", _HINT) from error


def parsed(text: str) -> Any:
    """What a text in YAML says, the caller's own to change.

    Raises:
        NOT_YAML: it is none.
        DuplicateKeyError: a mapping has a key twice.
    """
    return pickle.loads(_pickled(text))


@functools.lru_cache(maxsize=32)
def _pickled(text: str) -> bytes:
    """A study resolves the same recipe hundreds of times and reads its plan twice; a deep copy takes far longer."""
    return pickle.dumps(yaml.load(text, YamlLoader))


def scalar(text: str) -> Any:
    """A value as ``--set`` reads it.

    Raises:
        UsageError: a mapping has a key twice.
    """
    try:
        return yaml.load(text, YamlLoader)
    except DuplicateKeyError as error:
        raise UsageError(f"{brief(text)!r} has {error}.", _HINT) from error
    except NOT_YAML:
        return text


class YamlLoader(yaml.SafeLoader):
    """PyYAML's, with numbers as YAML 1.2 has them and a reader takes them: 5e-6 is one, 010 is ten, 1:30 is text. Dates
    are text too; yes, no, on and off stay truth values. A key that a mapping has twice is refused; one over a key that
    ``<<`` merges is there once."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Of what is written: later, keys are there that were merged."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                where = f"in line {lines[name]} and in line {line}"
                raise DuplicateKeyError(f"the key {key.value!r} twice in one mapping, {where}")
            lines[name] = line
        return node


YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in known if tag.rpartition(":")[2] not in ("int", "float", "timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_PREFIXED = re.compile("[-+]?0[xob]")


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    return int(text, 0 if _PREFIXED.match(text) else 10)


YamlLoader.add_constructor("tag:yaml.org,2002:int", _integer)
YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+)$"),
    [*"-+0123456789"],
)
YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|"
        r"\.(?:nan|NaN|NAN)$"
    ),
    [*"-+.0123456789"],
)
