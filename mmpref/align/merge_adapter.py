"""A finished adapter run as one ordinary model: the adapter's weights added into the base's."""

from __future__ import annotations

from pathlib import Path

from mmpref.errors import RunError
from mmpref.log import logger
from mmpref.registry import resolve_path
from mmpref.run.files import open_weights
from mmpref.run.manifest import is_whole_model, read_manifest
from mmpref.types import ModelRef
from mmpref.vlm.adapters import apply_adapter
from mmpref.vlm.base_weights import refuse_other_weights


def merge_adapter(path: Path, folder: Path) -> None:
    """Write model and processor into a folder that plain transformers loads, in the precision of the checkpoint.

    An adapter that was trained on a quantized base (QLoRA) is added to the weights in full, since a quantized sum would
    be rounded once more. That is said: what quantizing had changed in the base is gone then.

    Args:
        path: a finished run of ``mmpref train``.

    Raises:
        RunError: it is no adapter of a policy, or a whole model already.
        ModelError: its files lack weights, or hold others, or the base's folder holds others than it was trained on.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    manifest = read_manifest(path)
    if manifest["command"] != "train" or manifest["recipe"]["method"] == "reward-model":
        raise RunError(f"{path} holds no policy's adapter that could be merged.", "Leave --merge out.")
    if is_whole_model(manifest):
        raise RunError(f"{path} is a whole model already: it was trained in full.", "Leave --merge out.")
    model, code = manifest["model"], manifest["recipe"]["trust_remote_code"]
    refuse_other_weights(ModelRef(model["id"], model["revision"], str(path)))
    if quantization := manifest["recipe"].get("quantization"):
        logger.info(
            "The adapter was trained on %s in %s; it is merged into the weights in full.", model["id"], quantization
        )
    base = AutoModelForImageTextToText.from_pretrained(
        resolve_path(model["id"]), revision=model["revision"], dtype="auto", trust_remote_code=code
    )
    merged = apply_adapter(base, str(path))[0].merge_and_unload()
    merged.save_pretrained(str(folder))
    AutoProcessor.from_pretrained(str(path), trust_remote_code=code).save_pretrained(str(folder))
    open_weights(folder)
