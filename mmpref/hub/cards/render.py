"""What both kinds of cards share: the template, its rendering, and values of a run as a card writes them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmpref.errors import UsageError
from mmpref.hub.cards.markdown import code, table, text
from mmpref.hub.cards.metadata import refuse_broken
from mmpref.hub.cards.origin_tags import origin_tags
from mmpref.registry import Registry
from mmpref.version import __version__

if TYPE_CHECKING:
    import jinja2
    from huggingface_hub import DatasetCardData, ModelCardData

TAGS = ["vlm", "trl"]
"""Of every card."""
TASK = "image-text-to-text"
_COUNTED = {
    "used": "pairs that were used",
    "same": "answers that are the same",
    "tie": "ties",
    "objects_listed": "objects that rows list",
    "objects_unknown": "listed objects that no line of the table of synonyms has",
    "unwrapped": "answers taken out of a fence, of quotation marks, or from behind words that announce them",
}
"""What is counted, where its key alone would not say."""
CONTROL = "Control: "
"""How the first line of a method begins that is there to compare with, not to make a model better."""
_METHODS: dict[str, Registry[Any]] = {
    "build-dataset": Registry("dataset method", "mmpref.builders", "BUILDER"),
    "train": Registry("training method", "mmpref.methods", "METHOD"),
}


@cache
def _compiled(kind: Literal["dataset", "model"]) -> jinja2.Template:
    """The template as Jinja renders it: to compile it takes longer than a card."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template(kind))


@cache
def template(kind: Literal["dataset", "model"]) -> str:
    """The Jinja template: the wheel's copy, or in a checkout the one under ``dataset_cards`` or ``model_cards``."""
    packaged = Path(__file__).parent / "templates" / f"{kind}_card.md.j2"
    checkout = Path(__file__).parents[3] / f"{kind}_cards" / "template.md.j2"
    return (packaged if packaged.is_file() else checkout).read_text(encoding="utf-8")


def render_card(
    kind: Literal["dataset", "model"], data: DatasetCardData | ModelCardData, manifest: Mapping[str, Any], **values: Any
) -> str:
    """The card's text.

    Args:
        data: its metadata.
        manifest: of the run, as it may be published: what both kinds of cards say of it.
        values: what only this kind says.

    Raises:
        HubError: the metadata would be broken.
    """
    summary = _method_summary(manifest)
    data["tags"] = [*(data.get("tags") or ()), *origin_tags(manifest)]
    card = _compiled(kind).render(
        card_data=data.to_yaml(),
        run=manifest["recipe_hash"],
        version=text(manifest.get("versions", {}).get("mmpref", __version__)),
        method=code(method_name(manifest)),
        summary=summary,
        control=summary.startswith(CONTROL),
        annotator=code(manifest["annotator"]["name"]) if manifest.get("annotator") else "",
        sampling=_sampling_text(manifest.get("sampling")),
        **values,
    )
    refuse_broken(card, kind)
    return card


def plain_name(value: str) -> str:
    """A name of letters, digits and the commonest signs only, which needs no quoting anywhere."""
    return re.sub(r"[^\w .,()+-]", "", value)


def last_part(name: str) -> str:
    """What a model or data set is called, without its owner or folder."""
    if name.startswith("pkg:"):
        return name.removeprefix("pkg:").replace("/", " ")
    return name.rstrip("/").split("/")[-1] or name


def content_id(entry: Mapping[str, Any]) -> str:
    """The revision of a model or data set, or the fingerprint of a local one."""
    return code(entry.get("revision") or entry.get("fingerprint") or "not recorded")


def format_number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def summary_of(command: Literal["build-dataset", "train"], method: str) -> str:
    """First line of a method, as ``mmpref list`` has it; "" where its plugin is not installed."""
    try:
        return _METHODS[command].summary(method)
    except UsageError:
        return ""


def method_tags(method: str) -> list[str]:
    """What a training by the method is searched by; only its name where its plugin is not installed."""
    try:
        entry = _METHODS["train"].get(method)
    except UsageError:
        return [method]
    return list(dict.fromkeys([*getattr(entry, "tags", ()), method]))


def methods_that_write(methods: Iterable[str]) -> list[str]:
    """Those of some methods of making pairs that have a model or an annotator write answers."""
    found = []
    for method in methods:
        with contextlib.suppress(UsageError):  # its plugin is not installed
            builder = _METHODS["build-dataset"].get(method)
            if builder.uses_model or builder.needs_annotator:
                found.append(method)
    return found


def counts_table(counts: Mapping[str, Any], what: str = "asked and answered") -> str:
    """What was asked and answered, or drawn, as a table; empty where nothing was counted."""
    cells = {
        _COUNTED.get(name, name.replace("_", " ")): f"{value:,.0f}"
        for name, value in counts.items()
        if isinstance(value, int | float) and value and name not in ("named", "named_first")
    }
    if named := counts.get("named"):
        cells["named the response that was shown first"] = f"{counts['named_first'] / named:.1%}"
    return table((what, "count"), list(cells.items())) if cells else ""


def method_name(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("method", manifest["recipe"]["method"]))


def method_title(manifest: Mapping[str, Any]) -> str:
    """The method's name as a title has it: the whole, or else each part, as its first line spells it in capitals."""
    name = method_name(manifest)
    line = summary_of(manifest["command"], name)
    return _spelled(name, line) or "-".join(_spelled(part, line) or part for part in name.split("-"))


def _spelled(name: str, line: str) -> str:
    """How a line spells a name, in which more than a first letter is a capital; "" where it does not."""
    found = re.findall(rf"(?<!\w){re.escape(name)}(?!\w)", line, re.IGNORECASE)
    return next((one for one in found if one[1:] != one[1:].lower()), "")


def _method_summary(manifest: Mapping[str, Any]) -> str:
    """The method's own first line as a sentence; nothing where its plugin is not installed."""
    line = summary_of(manifest["command"], method_name(manifest))
    return text(re.sub(r"\s*\([^)]*\)\.?$", "", line).rstrip(".") + ".") if line else ""


def _sampling_text(settings: Mapping[str, Any] | None) -> str:
    """How tokens were drawn, in words; nothing where none were, or it was not recorded."""
    if not settings:
        return ""
    numbers = [
        f"{name.replace('_', ' ')} {format_number(value)}" for name, value in settings.items() if name != "greedy"
    ]
    return text(", ".join(["greedy" if settings["greedy"] else "sampled", *numbers]))
