"""What a build came to, as the lines of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmpref.reasons import listed
from mmpref.run.build_report import LENGTH_RATIO


def summary_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A finished build as lines of a table: what it is, and its value.

    Args:
        manifest: what ``run.json`` holds.
    """
    counts = manifest["counts"]
    pairs = str(counts["rows"])
    if splits := manifest.get("splits"):
        pairs += f" ({', '.join(f'{rows} {split}' for split, rows in splits.items())})"
    annotator = [("annotator", _annotator_line(manifest["annotator"]))] if manifest.get("annotator") else []
    changed = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.get("changed", {}).items())
    noted = [(name.replace("_", " "), f"{count:,.0f}") for name, count in manifest.get("notes", {}).items() if count]
    if masking := manifest.get("masking"):
        noted.append(("image tokens visible in the mean", _masking_text(masking)))
    ratio = manifest.get("length_ratio")
    lengths = [(LENGTH_RATIO, f"{ratio:.3f}")] if ratio is not None else []
    server = [("answers are from a server", _server_line(manifest["server"]))] if manifest.get("server") else []
    return [
        *server,
        *annotator,
        ("pairs", pairs),
        ("skipped rows", listed(counts["skipped"]) or "none"),
        *([("rows changed", changed)] if changed else []),
        *noted,
        *lengths,
        ("seconds", str(manifest["seconds"])),
    ]


def _annotator_line(annotator: Mapping[str, Any]) -> str:
    """Who was asked, what came of it, and what it took."""
    shown = [
        f"{value:,.0f} {name.replace('_', ' ')}"
        for name, value in annotator.items()
        if isinstance(value, int | float) and value and name not in ("named", "named_first", "cost")
    ]
    if annotator.get("named"):
        shown.append(f"{annotator['named_first'] / annotator['named']:.0%} name the response shown first")
    if "cost" in annotator:
        shown.append(f"cost {annotator['cost']:g}")
    return f"{annotator['name']}: {', '.join(shown)}" if shown else str(annotator["name"])


def _masking_text(masking: Mapping[str, float]) -> str:
    """rho_th in both units."""
    shown, of = (f"{masking[name]:,.4g}" for name in ("visible_tokens", "image_tokens"))
    return f"{shown} of {of} (rho_th {masking['rho_th']:.4g})"


def _server_line(server: Mapping[str, Any]) -> str:
    """Which server wrote answers, and what that took."""
    counts = [
        f"{value:,.0f} {name.replace('_', ' ')}" for name, value in server.items() if isinstance(value, int | float)
    ]
    return ", ".join([f"{server['model']} at {server['url']}", *counts])
