"""The base of a study's seed, trained into the folder that a plan gives it (`mmpref.study.bases.Bases`)."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.local_paths import cache_folder
from mmpref.testbed.training.run import Lengths, train


def train_base(*, seed: int, output: Path, lengths: Mapping[str, int] | None = None, **options: Any) -> None:
    """Train the testbed's model of a seed into ``output``, with ``TRAINING.json`` of what was measured beside it.

    Args:
        lengths: of parts of the training, where they are not the usual ones.
        options: ``size``, ``architecture``, ``kind_first``, ``unclear``, ``members`` and ``held_out`` of
            `mmpref.testbed.training.run.train`.
    """
    with contextlib.redirect_stdout(sys.stderr):  # what a command prints there is its result
        figures = train(
            output,
            seed=seed,
            with_embedder=False,
            lengths=Lengths(**(lengths or {})),
            keep=cache_folder() / "testbed",
            **options,
        )
    model = output / "model"
    for path in sorted(model.iterdir()):
        path.rename(output / path.name)
    model.rmdir()
    (output / "TRAINING.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
