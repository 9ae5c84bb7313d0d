"""Patterns of the files that a published run owns: a later run of the same repository replaces them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from mmpref.run.results import RESULTS
from mmpref.run.training_images import TRAINING_IMAGES

ADAPTER_FILES = ("adapter_*", "checkpoints/*", "model*.safetensors", "model.safetensors.index.json")
WEIGHT_FILES = ("adapter_model.*", "model*.safetensors")
"""Those of a model by which it is known."""
RECORDS_OF_WEIGHTS = f"evaluation/{'[0-9a-f]' * 8}/*"
"""Per-sample records beside a model, of each evaluation in a folder of its own."""

_OF_A_TRAINING = (
    *ADAPTER_FILES,
    *("config.json", "generation_config.json", "*processor_config.json", "chat_template.json", "*.jinja"),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
    *("*.tiktoken", "tekken.json", "log.jsonl", "training.png", TRAINING_IMAGES, RESULTS),
    *("LICENSE*", "NOTICE*"),  # which the base's licence may ask to go along
)
"""Weights; configuration, processor and tokenizer; what training tells of itself."""
_FOLDERS_OF_A_TRAINING = ("checkpoints", "additional_chat_templates")


def is_of_a_training(name: str, own_code: bool) -> bool:
    """Whether a file in a training run's folder is one of those that training writes.

    Args:
        name: path in the folder, with forward slashes.
        own_code: the model comes with code, which is saved with it.
    """
    folder, _, inner = name.partition("/")
    if inner:
        return folder in _FOLDERS_OF_A_TRAINING
    patterns = (*_OF_A_TRAINING, *(("*.py",) if own_code else ()))
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def data_files(splits: Iterable[str]) -> tuple[str, ...]:
    """Those of a dataset's splits."""
    return tuple(f"data/{split}-*.parquet" for split in splits)
