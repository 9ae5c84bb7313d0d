"""``mmpref list settings``: every key that ``--set`` takes, with type, default and meaning."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

import click

from mmpref.errors import UsageError
from mmpref.recipes.resolve import COMMANDS
from mmpref.recipes.settings import NEEDED, Setting

_WIDEST = 110


def show(of: Sequence[str], as_json: bool) -> None:
    """Print the settings of a command.

    Args:
        of: the command, and perhaps a method or benchmark.

    Raises:
        UsageError: it is none.
    """
    from mmpref.api.settings import settings

    if not 1 <= len(of) <= 2:
        raise UsageError(
            "Settings are those of a command.",
            f"Name it, and a method or benchmark if you like: mmpref list settings {'|'.join(COMMANDS)} [NAME].",
        )
    command, part = of[0], of[1] if len(of) == 2 else None
    found = settings(command, part)
    if as_json:
        click.echo(json.dumps([_plain(one) for one in found], indent=2, ensure_ascii=False, default=str))
        return
    width = min(shutil.get_terminal_size((80, 24)).columns, _WIDEST)
    for one in found:
        click.echo(f"{click.style(one.key, bold=True)}  {one.type}, {_default(one)}")
        if one.meaning:
            click.echo(click.wrap_text(one.meaning, width, initial_indent="    ", subsequent_indent="    "))
    click.echo(f"\n{_more(command, part)}", err=True)


def _more(command: str, part: str | None) -> str:
    """What else there is to see."""
    given = "--set KEY=VALUE, or the keys of a recipe's section; its own values come before these defaults."
    if part is not None:
        return f"These are for {given}"
    others = {
        "build-dataset": "another method's",
        "train": "another method's, or a watched benchmark's",
        "evaluate": "a benchmark's",
    }
    return f"These are for {given} `mmpref list settings {command} NAME` has {others[command]} too."


def _plain(setting: Setting) -> dict[str, Any]:
    return {
        "key": setting.key,
        "type": setting.type,
        **({"needed": True} if setting.default is NEEDED else {"default": setting.default}),
        "meaning": setting.meaning,
    }


def _default(setting: Setting) -> str:
    if setting.default is NEEDED:
        return NEEDED
    return f"default {json.dumps(setting.default, ensure_ascii=False, default=str)}"
