"""What a dataclass of settings says of its keys: type, default, and the meaning that its docstring gives.

A meaning stands in one place: the ``Args:`` section of the docstring of the class that has the field, or of one that
it inherits from; in the classes of other libraries, ``help`` in the field's metadata.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from mmpref.recipes.in_words import type_name
from mmpref.recipes.schema import type_hints
from mmpref.registry import called_here

NEEDED: Final = "needed"
"""In the place of a default, where there is none."""

_SHOWN = 4
_ENTRY = re.compile(r" {4}(\w+(?:, \w+)*): (.*)")


@dataclass(frozen=True)
class Setting:
    """One key that ``--set`` takes.

    Args:
        key: dotted, such as ``lora.r``.
        type: in words.
        default: as a recipe would say it, or `NEEDED`.
        meaning: what it decides.
    """

    key: str
    type: str
    default: Any
    meaning: str

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]


def settings_of(cls: type, blocks: Mapping[str, type] | None = None, prefix: str = "") -> list[Setting]:
    """Every key of a (nested) dataclass, in the order of its fields.

    Args:
        blocks: of mappings that a class of their own checks, the class by dotted key: ``{"loss": Settings}``.
        prefix: of all keys, with its dot.
    """
    blocks, hints, meanings = blocks or {}, type_hints(cls), meanings_of(cls)
    found: list[Setting] = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        key, hint = prefix + field.name, hints[field.name]
        inner = {hint: key} if dataclasses.is_dataclass(hint) and isinstance(hint, type) else {}
        inner |= {block: name for name, block in blocks.items() if name == key or name.startswith(f"{key}.")}
        for block, name in inner.items():
            found += settings_of(block, blocks, f"{name}.")
        if not inner:
            meaning = meanings.get(field.name) or str(field.metadata.get("help") or "")
            found.append(Setting(key, type_name(hint), _default(field), " ".join(meaning.replace("``", "").split())))
    return found


def meanings_of(cls: type) -> dict[str, str]:
    """What the docstrings of a class and of those that it inherits from say of their fields."""
    meanings: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        meanings |= _documented(inspect.cleandoc(vars(one).get("__doc__") or ""))
    return meanings


def _documented(doc: str) -> dict[str, str]:
    meanings: dict[str, str] = {}
    _, _, arguments = doc.partition("Args:\n")
    names: list[str] = []
    for line in arguments.splitlines():
        if line and not line.startswith("    "):
            break
        if entry := _ENTRY.fullmatch(line):
            names = entry[1].split(", ")
            meanings |= dict.fromkeys(names, entry[2])
        else:
            meanings |= {name: f"{meanings[name]} {line.strip()}".strip() for name in names}
    return meanings


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return NEEDED if field.default_factory is dataclasses.MISSING else field.default_factory()


def advice(name: str, known: Iterable[Setting], aliases: Mapping[str, str], command: str, section: str = "") -> str:
    """A 'did you mean' for a key that there is not: the settings of that name wherever they stand, else near ones.

    Args:
        name: the unknown key, without its section.
        aliases: what options call settings: ``{"epochs": "trainer.num_train_epochs"}``.
        command: whose settings they are.
        section: where the key was looked for, with its dot; of equally near keys its own come first.

    Returns:
        Empty where nothing is near.
    """
    by_key = {setting.key: setting.name for setting in known}
    if "." in name and section + name in by_key:
        return f"A part of a mapping stands inside of it: `{_nested(name)}`"
    # An option may stand for a setting that this section has with another method only.
    aliases = {
        alias: key for alias, key in aliases.items() if key in by_key or not (section and key.startswith(section))
    }
    same = [key for key, last in by_key.items() if last == name or key == name]
    if not same and name in aliases:
        same = [aliases[name]]
    if not same:
        called = [*((last, key) for key, last in by_key.items()), *aliases.items()]
        meant = [key for habit in called_here(name) for last, key in called if last == habit]
        same = sorted(meant, key=lambda key: not key.startswith(section))[:1]
    named = [*by_key.items(), *_blocks(by_key), *((key, alias) for alias, key in aliases.items())]
    same = same or _nearest(name, named, section)
    if section and name in same:
        key = name if name in by_key else f"{name}.KEY"
        return _outside(key, [other for other in same if other != name], command, section)
    return _did_you_mean(same)


def _nested(key: str) -> str:
    """A dotted key as a recipe file has it, such as ``lora: {r: VALUE}``."""
    *blocks, last = key.split(".")
    inner = f"{last}: VALUE"
    for block in reversed(blocks):
        inner = f"{block}: {{{inner}}}"
    return inner


def _outside(key: str, others: Sequence[str], command: str, section: str) -> str:
    """Of a key that was looked for in a section, and stands in none; of a mapping, a key in it."""
    further = f"; or {' or '.join(map(repr, others))}" if others else ""
    return f"It is a key of {command} itself, not of {section.rstrip('.')}: --set {key}=VALUE{further}"


def _blocks(keys: Iterable[str]) -> list[tuple[str, str]]:
    """The mappings that keys stand in, and the last part of each one's own key."""
    blocks = {block for key in keys for block in accumulate(key.split(".")[:-1], "{}.{}".format)}
    return [(block, block.rpartition(".")[2]) for block in sorted(blocks)]


def _nearest(name: str, named: Sequence[tuple[str, str]], section: str) -> list[str]:
    """The key whose last part is most like a name, if any is alike."""
    scored = [(difflib.SequenceMatcher(None, name, last).ratio(), key.startswith(section), key) for key, last in named]
    alike = sorted((one for one in scored if one[0] >= 0.6), key=lambda one: (-one[0], not one[1]))
    return [alike[0][2]] if alike else []


def _did_you_mean(keys: Sequence[str]) -> str:
    shown = [repr(key) for key in dict.fromkeys(keys)]
    if not shown or len(shown) > _SHOWN:
        return ""
    return f"Did you mean {' or '.join(shown)}?"
