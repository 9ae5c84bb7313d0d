"""Options in messages, as whoever called knows them.

Messages name them as the command line does: ``--image-root``, ``--blind=no-image``, ``--set KEY=VALUE``. In Python they
are arguments, in a recipe file keys, and of a command that lacks an option what ``--set`` takes in its place. So do
remarks that a run keeps, whoever made it: they are reworded where they are shown.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mmpref.api.settings import NAMES, OTHER_NAMES
from mmpref.errors import MmprefError, UsageError
from mmpref.log import logger
from mmpref.recipes.yaml_text import scalar
from mmpref.registry import suggest

F = TypeVar("F", bound=Callable[..., Any])
Spelling = Callable[[str, "str | None"], str]
"""From a name (or a dotted key) and perhaps a value to what is written in their place."""

_VALUE = r"(?:=('[^']*'|\w+=[\w./-]*\w(?:,\w+=[\w./-]*\w)*|\[[^\]\s]*\]|[\w./#:-]*[\w/#]))?"
_SET = re.compile(rf"--set ([\w-]+(?:\.[\w-]+)*){_VALUE}")
_OPTION = re.compile(rf"--([a-z][a-z-]+){_VALUE}")
_PAIRS = ("columns",)
"""Options whose values are a name and what it stands for: ``--columns=answer=caption``."""
_NUMBER = "NUMBER"
"""What stands for one."""
_COMMAND = re.compile(r"(`[^`]*`)")
"""Commands are shown as they are."""


def reworded(text: str, option: Spelling, setting: Spelling) -> str:
    """A message with its options and its ``--set`` in other words."""
    parts = _COMMAND.split(text)
    for number in range(0, len(parts), 2):
        by_set = _SET.sub(lambda match: setting(match[1], match[2]), parts[number])
        parts[number] = _OPTION.sub(lambda match: option(match[1].replace("-", "_"), match[2]), by_set)
    return "".join(parts)


@contextmanager
def rewording(option: Spelling, setting: Spelling) -> Iterator[None]:
    """Reword what is logged and raised within.

    Raises:
        MmprefError: the same error.
    """

    def logged(record: logging.LogRecord) -> bool:
        record.msg, record.args = reworded(record.getMessage(), option, setting), ()
        return True

    logger.filters.insert(0, logged)  # as of errors, the words of who is within go first
    try:
        yield
    except MmprefError as error:
        error.message, error.hint = (reworded(text, option, setting) for text in (error.message, error.hint))
        error.args = (error.message,)
        raise
    finally:
        logger.removeFilter(logged)


def in_python(function: F) -> F:
    """The function, whose messages name its arguments in the place of options, and which suggests one for a keyword
    that it lacks."""
    arguments = inspect.signature(function).parameters
    takes_any = any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values())

    def option(name: str, value: str | None) -> str:
        if name not in arguments:
            return _as_option(name, value)
        if name in _PAIRS and value and "=" in value:
            return f"{name}={json.dumps(_pair(value), ensure_ascii=False)}"
        return f"{name}={'' if value is None else _literal(value)}"

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        for name in () if takes_any else kwargs:
            if name not in arguments:
                raise UsageError(f"{function.__name__} has no argument {name!r}.", suggest(name, [*arguments]))
        with rewording(option, _set_in_python):
            return function(*args, **kwargs)

    return called  # type: ignore[return-value]


def _pair(value: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in re.split(r",(?=\w+=)", value.strip("'")))
    return {name: of for name, _, of in pairs}


def _set_in_python(key: str, value: str | None) -> str:
    return f'set={{"{key}": {"..." if value is None else _literal(value)}}}'


def _literal(text: str) -> str:
    value = scalar(text.strip("'"))
    if value == _NUMBER:
        return "..."
    return f'"{value}"' if isinstance(value, str) else repr(value)


def python_remarks(remarks: Iterable[str]) -> list[str]:
    """Remarks that a run keeps, as they are shown in Python."""

    def option(name: str, value: str | None) -> str:
        return f"{name}={'' if value is None else _literal(value)}"

    return [reworded(remark, option, _set_in_python) for remark in remarks]


def recipe_remarks(remarks: Iterable[str], command: str) -> list[str]:
    """The same of a command's run, shown to whoever has it in a recipe file."""
    return [reworded(remark, *in_recipe(command)) for remark in remarks]


def in_recipe(command: str) -> tuple[Spelling, Spelling]:
    """Of a command's section in a recipe file: keys."""

    def key(name: str, value: str | None) -> str:
        if name in _PAIRS and value and "=" in value:
            pairs = ", ".join(f"{first}: {second}" for first, second in _pair(value).items())
            value = f"{{{pairs}}}"
        return f"`{name}`" if value is None else f"`{name}: {value}`"

    def option(name: str, value: str | None) -> str:
        if name in ("output", "push", "hub_model_id", "hub_dataset_id"):
            return _as_option(name, value)
        return key({"benchmark": "benchmarks"}.get(name) or _key(command, name) or name, value)

    return option, key


@contextmanager
def in_section(name: str, command: str) -> Iterator[None]:
    """Say of an error in which section of a recipe it is, once.

    Raises:
        MmprefError: the same error.
    """
    try:
        with rewording(*in_recipe(command)):
            yield
    except MmprefError as error:
        where = f"{name}, {command}: "
        error.message = where + error.message.removeprefix(where)
        raise


def on_command_line(command: str, options: Collection[str]) -> tuple[Spelling, Spelling]:
    """Of a command: an option that it lacks is ``--set`` with the setting that it would be.

    Args:
        options: those that it has, as its function's arguments.
    """

    def option(name: str, value: str | None) -> str:
        key = _key(command, name)
        if name in options or key is None:
            return _as_option(name, value)
        return _as_set(key, value)

    return option, _as_set


def _key(command: str, name: str) -> str | None:
    return NAMES.get(command, {}).get(name) or OTHER_NAMES.get(command, {}).get(name)


def _as_option(name: str, value: str | None) -> str:
    return f"--{name.replace('_', '-')}{'' if value is None else f'={value}'}"


def _as_set(key: str, value: str | None) -> str:
    return f"--set {key}={'VALUE' if value is None else value}"
