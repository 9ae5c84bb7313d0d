"""The plot of a training run: loss, margins, accuracies, log-probabilities, and how far the policy has gone."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.run import write_atomic

_PANELS = (
    ("loss", {"loss": "loss"}),
    ("reward margin", {"rewards/margins": "chosen - rejected"}),
    ("accuracy (chosen above rejected)", {"rewards/accuracies": "accuracy"}),
    ("log-probability of the answers", {"logps/chosen": "chosen", "logps/rejected": "rejected"}),
    ("KL from the base, per token", {"kl/chosen": "on chosen", "kl/rejected": "on rejected", "kl": "on samples"}),
    ("entropy of the next token", {"entropy": "entropy"}),
)


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write ``training.png`` from log rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    steps = [row["step"] for row in rows]
    marker = "o" if len(rows) < 30 else ""
    for axes, (title, known) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        lines = {key: label for key, label in known.items() if any(key in row for row in rows)}
        for key, label in lines.items():
            axes.plot(
                steps, [row.get(key, math.nan) for row in rows], label=label, marker=marker, markersize=3, linewidth=1.4
            )
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("step", fontsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_atomic(path, content.getvalue())
