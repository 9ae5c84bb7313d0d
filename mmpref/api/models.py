"""`mmpref.load_policy`: a model in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mmpref.api.options import RecipeName, place
from mmpref.api.state import threads_restored
from mmpref.hub_ids import model_id
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.recipe.schema import Dtype
    from mmpref.vlm.policy import Policy


def load_policy(
    model: RecipeName,
    *,
    revision: str | None = None,
    adapter: RecipeName | None = None,
    adapter_revision: str | None = None,
    dtype: Dtype = "auto",
    device: str | None = None,
    quantization: Literal["4bit", "8bit"] | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> Policy:
    """Load a vision-language model, with or without an adapter, ready to render prompts and answer them.

    Args:
        model: Hub id, or folder.
        revision: of the model.
        adapter: what `train` gave, Hub id or folder.
        adapter_revision: of the adapter.
        dtype: ``auto`` is fp32 on a CPU and the checkpoint's own elsewhere.
        device: such as ``cuda:0``; by default the accelerator, if there is one.
        quantization: ``4bit`` or ``8bit``, by bitsandbytes.
        device_map: such as ``auto``, to spread it over devices.
        trust_remote_code: run code that comes with the model.

    Returns:
        The policy, in eval mode: ``model``, ``processor``, ``tokenizer``, ``generate(requests, decoding)``.

    Raises:
        ModelError: no such model or adapter, a text-only model, or an architecture that is not supported.
    """
    from mmpref.vlm.load import load_policy as load

    ref = ModelRef(
        model_id(place(model)), revision, model_id(place(adapter)) if adapter is not None else None, adapter_revision
    )
    with threads_restored():
        return load(
            ref,
            dtype=dtype,
            device=device,
            quantization=quantization,
            device_map=device_map,
            trust_remote_code=trust_remote_code,
        )
