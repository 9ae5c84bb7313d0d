"""One HTML file about a whole loop: results, training curves, pairs resolved per try, pairs to read. No network."""

from __future__ import annotations

import base64
import difflib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.run.files import write_atomic
from mmpref.run.manifest import read_manifest
from mmpref.words import spaced

SHOWN_PAIRS = 12


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
    return environment.get_template(template).render(**values)


def write_report(root: Path, built: Path, trained: Path, evaluated: Path) -> Path:
    """Write ``report.html`` from three finished runs."""
    evaluation = json.loads((evaluated / "results.json").read_text(encoding="utf-8"))
    build_report = json.loads((built / "report.json").read_text(encoding="utf-8"))
    text = render(
        "report.html.j2",
        built=read_manifest(built),
        trained=read_manifest(trained),
        rows=_rows(evaluation),
        plane=_data_url(_plane(evaluation)),
        resolved=_data_url(_resolved(build_report)),
        training=_data_url((trained / "training.png").read_bytes()),
        report=build_report,
        pairs=_pairs(built),
        versions=read_manifest(evaluated)["versions"],
    )
    path = root / "report.html"
    write_atomic(path, text)
    return path


def _rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    def key(row: Mapping[str, Any]) -> tuple[str, str, str]:
        return row["benchmark"], row["metric"], row["split"]

    adapter = {key(row): row for row in evaluation["results"] if row["model"] == "adapter"}
    change = {key(row): row for row in evaluation["differences"]}
    rows = []
    for row in evaluation["results"]:
        if row["model"] == "base":
            moved = change[key(row)]
            clear = moved["low"] > 0 or moved["high"] < 0
            better = (moved["value"] > 0) == row["higher_is_better"] if row["higher_is_better"] is not None else None
            verdict = "" if not clear or better is None else "better" if better else "worse"
            rows.append({"base": row, "adapter": adapter[key(row)], "change": moved, "verdict": verdict})
    return rows


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _plane(evaluation: Mapping[str, Any]) -> bytes:
    """Hallucination against recall, with intervals: down and right is better."""
    found = {(row["model"], row["metric"]): row for row in evaluation["results"] if row["benchmark"] == "chair"}
    figure = _figure(5, 3.6)
    axes = figure.subplots()
    for model in ("base", "adapter"):
        across, up = found.get((model, "recall")), found.get((model, "chair_i"))
        if across and up:
            axes.errorbar(
                across["value"],
                up["value"],
                xerr=[[across["value"] - across["low"]], [across["high"] - across["value"]]],
                yerr=[[up["value"] - up["low"]], [up["high"] - up["value"]]],
                fmt="o",
                capsize=3,
                label=model,
            )
    axes.set_xlabel("object recall")
    axes.set_ylabel("CHAIR_i (share of hallucinated mentions)")
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(figure)


def _resolved(report: Mapping[str, Any]) -> bytes:
    figure = _figure(5, 3.6)
    axes = figure.subplots()
    axes.plot([row["try"] for row in report["resolved"]], [row["share"] for row in report["resolved"]], marker="o")
    axes.set_xticks([row["try"] for row in report["resolved"]])
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("try (the last one is unguided)")
    axes.set_ylabel("share of pairs resolved")
    axes.grid(alpha=0.3)
    return _png(figure)


def _pairs(built: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    shown: list[dict[str, Any]] = []
    for file in sorted((built / "data").glob("*.parquet")):
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(batch_size=SHOWN_PAIRS):
            for row in batch.to_pylist():
                if len(shown) == SHOWN_PAIRS:
                    return shown
                chosen, rejected = row["chosen"][-1]["content"], row["rejected"][-1]["content"]
                shown.append(
                    {
                        "image": _data_url(_as_png(row["images"][0]["bytes"])),
                        "prompt": row["prompt"][-1]["content"],
                        "chosen": marked(rejected, chosen),
                        "rejected": marked(chosen, rejected),
                        "similarity": row["similarity"],
                        "tries": row["iterations"],
                    }
                )
    return shown


def _as_png(content: bytes) -> bytes:
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
