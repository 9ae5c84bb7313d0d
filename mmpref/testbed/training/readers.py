"""Models that see and read, before they have learned a caption: bases that differ in their captions alone start from
the same one, which is kept for the next of them."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from safetensors import SafetensorError, safe_open

import mmpref.testbed
from mmpref.run.files import write_atomic

_SEEN = "seen"
"""In the file's metadata: what `train_tower` returned."""


def file_of(folder: Path, **made_of: Any) -> Path:
    """Where the reader of a training is kept, by all that decides its weights.

    Args:
        made_of: settings of the training.
    """
    libraries = {"torch": torch.__version__, "transformers": transformers.__version__}
    facts = {**made_of, **libraries, "cpu": torch.backends.cpu.get_cpu_capability(), "code": _code()}
    return folder / f"{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}.safetensors"


def save(model: torch.nn.Module, seen: dict[str, float], file: Path) -> None:
    """Keep a model that has learned to read.

    Args:
        seen: what its tower sees.
    """
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}  # tied ones too
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, safetensors.torch.save(weights, {_SEEN: json.dumps(seen)}))


def restore(model: torch.nn.Module, file: Path) -> dict[str, float] | None:
    """Give a model the weights of one that was kept, in place.

    Returns:
        what its tower sees; None where none was kept.
    """
    try:
        with safe_open(file, "pt") as kept:
            names, seen = kept.keys(), kept.metadata()[_SEEN]
            weights = {name: kept.get_tensor(name) for name in names}
    except (OSError, SafetensorError):
        return None
    model.load_state_dict(weights)
    return dict(json.loads(seen))


@functools.cache
def _code() -> str:
    """A hash of the testbed's code and pictures."""
    package, digest = Path(mmpref.testbed.__file__).parent, hashlib.sha256()
    for file in sorted(file for suffix in ("py", "png") for file in package.rglob(f"*.{suffix}")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
