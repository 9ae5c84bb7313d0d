"""Patterns of the files that a published run owns: a later run of the same repository replaces them."""

from __future__ import annotations

from collections.abc import Iterable

ADAPTER_FILES = ("adapter_*", "checkpoints/*", "model*.safetensors", "model.safetensors.index.json")
WEIGHT_FILES = ("adapter_model.*", "model*.safetensors")
"""Those of a model by which it is known."""
RECORDS_OF_WEIGHTS = f"evaluation/{'[0-9a-f]' * 8}/*"
"""Per-sample records beside a model, of each evaluation in a folder of its own."""


def data_files(splits: Iterable[str]) -> tuple[str, ...]:
    """Those of a dataset's splits."""
    return tuple(f"data/{split}-*.parquet" for split in splits)
