"""The proof that a saved adapter works: loaded by plain transformers and peft it gives the trained logits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmpref.errors import ModelError
from mmpref.registry import resolve_path
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.align.train import TrainRecipe

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.25, torch.float16: 0.05}


@dataclass(frozen=True)
class Probe:
    """Logits [B, S, V] on one batch, with the adapter and without it."""

    adapted: torch.Tensor
    base: torch.Tensor


def probe(model: Any, batch: dict[str, Any]) -> Probe:
    """Run a PEFT model on a collated batch, adapter on and off."""
    with model.disable_adapter():
        base = _logits(model, batch)
    return Probe(_logits(model, batch), base)


@torch.no_grad()
def _logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    inputs = {
        key: value.to(model.device)
        for key, value in batch.items()
        if torch.is_tensor(value) and key != "completion_mask"
    }
    logits: torch.Tensor = model(**inputs).logits.float().cpu()
    return logits


def check_probe(
    trained: Probe, batch: dict[str, Any], ref: ModelRef, folder: Path, recipe: TrainRecipe
) -> dict[str, float]:
    """Load the adapter back as a stranger would and compare.

    Returns:
        greatest absolute change of a logit by the adapter, and greatest error after loading.

    Raises:
        ModelError: the adapter changes nothing, or does not come back as it was trained.
    """
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    dtype = "float32" if recipe.dtype == "auto" and not torch.cuda.is_available() else recipe.dtype
    base = AutoModelForImageTextToText.from_pretrained(
        resolve_path(ref.model), revision=ref.revision, dtype=dtype, trust_remote_code=recipe.trust_remote_code
    )
    loaded = PeftModel.from_pretrained(base, str(folder)).eval()
    again = _logits(loaded.to("cuda" if torch.cuda.is_available() else "cpu"), batch)
    change = float((trained.adapted - trained.base).abs().max())
    error = float((again - trained.adapted).abs().max())
    if change == 0:
        raise ModelError(f"The trained adapter in {folder} does not change the logits.",
                         "The learning rate may be too small, or there were no steps.")  # fmt: skip
    if error > _TOLERANCE.get(base.dtype, 1e-4):
        raise ModelError(f"The adapter in {folder} gives other logits after loading (by {error:.2g}).")
    return {"logit_change": change, "reload_error": error}
