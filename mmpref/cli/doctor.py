"""``mmpref doctor``: look around, and show each part as soon as it is known."""

from __future__ import annotations

import json
import math
import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mmpref.log import counted, duration
from mmpref.version import __version__

if TYPE_CHECKING:
    from mmpref.api.doctor import Environment, Needs, Storage
    from mmpref.hub.token import TokenFacts
    from mmpref.vlm.devices import Device

_COMPARED = "H100"
_NAMES, _WIDEST = 16, 100  # columns


@click.command()
@click.option("--model", help="Say what this model will need: Hub id or folder. No weights are loaded.")
@click.option("--revision", help="Revision of the model.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(model: str | None, revision: str | None, trust_remote_code: bool, as_json: bool) -> None:
    """Tell what is installed, what this machine has, what the token may write, and what a model will need.

    \b
    Examples:
      mmpref doctor
      mmpref doctor --model llava-hf/llava-v1.6-vicuna-7b-hf
      mmpref doctor --json > doctor.json
    """
    from mmpref.api import doctor

    def show(rows: Iterable[tuple[str, str]]) -> None:
        for name, value in () if as_json else rows:
            click.echo(_wrapped(value, f"{name:<{_NAMES}}", " " * _NAMES))

    environment = doctor.environment()
    show([("mmpref", __version__), *_environment(environment)])
    storage = doctor.storage()
    show(_storage(storage))
    token = _token()
    show(_token_rows(token))
    from mmpref.vlm.devices import devices

    found = devices()
    show(_devices(found))
    report: dict[str, Any] = {
        "environment": asdict(environment),
        "storage": asdict(storage),
        "token": asdict(token),
        "devices": [asdict(device) for device in found],
    }
    if model:
        from mmpref.hub_ids import model_id

        needs = doctor.needs(model_id(model), [*found, doctor.h100()], revision, trust_remote_code)
        report["model"] = asdict(needs)
        if not as_json:
            _print_needs(needs, found)
    if as_json:
        click.echo(json.dumps(_finite(report), indent=2, ensure_ascii=False))


def _token() -> TokenFacts:
    from mmpref.hub.token import token_facts

    return token_facts()


def _environment(found: Environment) -> list[tuple[str, str]]:
    from mmpref.align.report_to import TRACKERS

    installed = dict(found.versions)
    python = installed.pop("python")
    installed.pop("mmpref", None)
    packages = [f"{name} {version}" for name, version in installed.items()]
    rows = [("Python", f"{python}, {found.system}")]
    rows.append(("packages", ", ".join(packages)))
    for extra in found.extras:
        lacks = f"lacks {', '.join(extra.missing)}, for {extra.serves}: pip install 'mmpref[{extra.name}]'"
        rows.append((f"[{extra.name}]", lacks if extra.missing else f"installed, for {extra.serves}"))
    rows.append(("trackers", ", ".join(found.trackers) or f"none installed ({', '.join(TRACKERS)})"))
    return rows


def _storage(found: Storage) -> list[tuple[str, str]]:
    return [
        ("memory", f"{memory_text(found.memory_free)} free of {memory_text(found.memory)}"),
        ("disk", f"{memory_text(found.runs_free)} free where runs go"),
        (
            "cache",
            f"{found.cache}: {counted(found.models, 'model')}, {counted(found.datasets, 'dataset')}, "
            f"{memory_text(found.cache_free)} free",
        ),
    ]


def _token_rows(token: TokenFacts) -> list[tuple[str, str]]:
    if token.problem:
        return [("Hub token", f"of {token.user}: {token.problem}" if token.user else token.problem)]
    return [("Hub token", f"of {token.user} ({token.role}); may write to {', '.join(token.may_write)}")]


def _devices(found: list[Device]) -> list[tuple[str, str]]:
    return [
        (
            device.place,
            f"{device.name}: {memory_text(device.free)} free of {memory_text(device.memory)}, "
            f"{device.peak / 1e12:,.3g} TFLOP/s in {device.dtype} (measured)",
        )
        for device in found
    ]


def _print_needs(needs: Needs, found: list[Device]) -> None:
    from mmpref.api.doctor import PER
    from mmpref.cli.format import print_table
    from mmpref.vlm.costs import IMAGE_TOKENS, UTILISATION

    known = "tested" if needs.tested else "not tested: probed when loaded"
    click.echo(f"\n{needs.model}: {needs.family} ({known}), {_count(needs.sizes.parameters)} parameters.")
    if needs.problem:
        click.echo(needs.problem)
    rows = [
        (place, one.command, memory_text(one.memory), "yes" if one.fits else "no", time_text(one.hours))
        for place, work in needs.work.items()
        for one in work
    ]
    click.echo()
    print_table("What it takes", ["device", "command", "memory", "fits", f"time for {PER:,}"], rows)
    click.echo()
    click.echo(
        _wrapped(
            f"Times are for {PER:,} pairs, in training for an epoch of them (the first: later ones take a quarter "
            f"less), or {PER:,} questions. They and the memory are estimates, no measurements: {UTILISATION:.0%} of "
            f"what the device does in large products of matrices; {_COMPARED} is one H100. A command's start, "
            "its imports and the loading of its models, comes on top, and is most of what few pairs take. Settings are "
            "the paper's. "
            + (
                f"A picture of 640 x 480 pixels takes {needs.image_tokens:,} tokens."
                if needs.measured_image
                else f"A picture is taken for {IMAGE_TOKENS:,} tokens: its processor does not say."
            )
        )
    )
    if not any(one.fits for device in found for one in needs.work[device.place] if one.command == "build-dataset"):
        click.echo("It does not fit here: it takes a larger device, or --set device_map=auto over several.")


def _wrapped(text: str, first: str = "", others: str = "") -> str:
    """Broken over lines as wide as the terminal, of 100 columns at most; words stay whole."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:,.3g}B" if parameters >= 1e8 else f"{parameters / 1e6:,.3g}M"


def memory_text(number: float) -> str:
    """Bytes, in GB of 10^9."""
    return f"{number / 1e9:,.1f} GB" if number >= 0.5e8 else "under 0.1 GB"


def time_text(hours: float) -> str:
    """To two digits; a minute and less in seconds, of which a part is none that an estimate could tell."""
    if math.isnan(hours):
        return "not known"
    if hours < 1 / 3600:
        return duration(3600 * hours)
    if hours < 1 / 60:
        return f"{hours * 3600:.2g} s"
    return f"{hours * 60:.2g} min" if hours < 1 else f"{hours:,.1f} h"


def _finite(value: Any) -> Any:
    """The same with None for what is not known: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
