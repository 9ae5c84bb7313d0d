"""Pages from our templates, and pictures inside them."""

from __future__ import annotations

import base64
import difflib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.log import counted
from mmpref.run import verdict
from mmpref.run.results import Value
from mmpref.words import spaced


def render(template: str, **values: Any) -> str:
    """A page from one of our templates; every value is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    return environment.get_template(template).render(**values)


def verdict_facts(
    lines: Sequence[verdict.Line], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """What ``_verdict.html.j2`` shows: a line for each benchmark, what else has changed, and the legend."""
    return {
        "columns": columns,
        "rows": [{"cells": cells, "kind": line.kind} for line, cells in zip(lines, rows, strict=True)],
        "remarks": verdict.remarks(lines),
        "legend": verdict.legend(lines),
    }


def data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def new_figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def error_bars(value: Value) -> list[list[float]]:
    """A value's interval as matplotlib wants it: how far down and up from the value."""
    return [[max(0.0, value.value - value.low)], [max(0.0, value.high - value.value)]]


def figure_png(figure: Any, metadata: Mapping[str, str] | None = None) -> bytes:
    """The figure as a PNG, with texts in it that are not shown."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata=metadata)
    return buffer.getvalue()


def as_png(content: bytes) -> bytes:
    from mmpref.images import decode
    from mmpref.types import ImageData

    image = decode(ImageData(content))
    image.thumbnail((256, 256))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def marked(other: str, text: str) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it differs from the other text, by words; joined they are the text."""
    before, after = spaced(other), spaced(text)
    alike = difflib.SequenceMatcher(None, [*map(str.rstrip, before)], [*map(str.rstrip, after)], autojunk=False)
    pieces = []
    for tag, _, _, start, end in alike.get_opcodes():
        run = "".join(after[start:end])
        core = run if tag == "equal" else run.rstrip()  # the space behind a word is not marked
        pieces += [(piece, differs) for piece, differs in ((core, tag != "equal"), (run[len(core) :], False)) if piece]
    return pieces
