"""The plot of a training run: loss, margins or rewards, accuracies, log-probabilities, lengths, and how far the policy
has gone. What a method does not log has no panel."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.run.files import write_atomic

_PANELS = (
    ("loss", {"loss": "loss"}),
    ("reward", {"reward": "of samples"}),
    ("reward margin", {"rewards/margins": "chosen - rejected"}),
    ("accuracy (chosen above rejected)", {"rewards/accuracies": "accuracy"}),
    ("log-probability of the answers", {"logps/chosen": "chosen", "logps/rejected": "rejected"}),
    ("KL from the base, per token", {"kl/chosen": "on chosen", "kl/rejected": "on rejected", "kl": "on samples"}),
    ("entropy of the next token", {"entropy": "entropy"}),
    (
        "tokens of the answers",
        {"lengths/chosen": "chosen", "lengths/rejected": "rejected", "completions/mean_length": "samples"},
    ),
)
_COLUMNS = 3


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write ``training.png`` from log rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(title, known) for title, known in _PANELS if any(key in row for key in known for row in rows)]
    height = max(1, math.ceil(len(panels) / _COLUMNS))
    figure = Figure(figsize=(13, 3.25 * height), layout="constrained")
    FigureCanvasAgg(figure)
    steps = [row["step"] for row in rows]
    marker = "o" if len(rows) < 30 else ""
    places = list(figure.subplots(height, _COLUMNS, squeeze=False).flat)
    for axes in places[len(panels) :]:
        axes.remove()
    for axes, (title, known) in zip(places, panels, strict=False):
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
