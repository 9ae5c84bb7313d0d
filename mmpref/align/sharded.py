"""Parameters spread over processes (FSDP2, DeepSpeed ZeRO-3): what has to be different then."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from mmpref.errors import UsageError

if TYPE_CHECKING:
    import torch
    from accelerate.state import AcceleratorState
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper


def prepare_sharding(model: PeftModel, accelerator_state: AcceleratorState, deepspeed_enabled: bool) -> None:
    """Make a model ready for FSDP, if the accelerator has a plugin for it; DeepSpeed needs nothing.

    transformers lists the layers of a family, and accelerate refuses a list with layers that are not there, such as
    those of CLIP's text model in LLaVA. And PEFT marks what it trains as frozen while the adapter is switched off, for
    nothing, as the reference is asked without gradients: FSDP would take its parts for frozen for good.

    Raises:
        UsageError: the launcher asked for DeepSpeed on a CPU, where accelerate leaves it out without a word.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and not deepspeed_enabled:
        raise UsageError("accelerate does not take DeepSpeed to a CPU.", "Launch it with the configuration ddp.")
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    fsdp_plugin = getattr(accelerator_state, "fsdp_plugin", None)
    if fsdp_plugin is None:
        return
    if fsdp_plugin.transformer_cls_names_to_wrap is None:
        present = {type(module).__name__ for module in model.modules()}
        listed = model.get_base_model()._no_split_modules or ()
        fsdp_plugin.transformer_cls_names_to_wrap = sorted(present.intersection(listed))
    for module in model.modules():
        if isinstance(module, BaseTunerLayer | ModulesToSaveWrapper):
            module.enable_adapters = partial(_enable_adapters, module)


def _enable_adapters(module: BaseTunerLayer | ModulesToSaveWrapper, enabled: bool) -> None:
    module._disable_adapters = not enabled


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether FSDP or ZeRO-3 has divided its parameters among processes."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) or hasattr(parameter, "ds_id") for parameter in model.parameters())


def gather_trainable(model: PeftModel) -> dict[str, torch.Tensor]:
    """The trained parameters of a sharded model by name, each whole and on the CPU, the projector's in the dtype of the
    base. All processes must ask."""
    from mmpref.align.adapter import is_projector

    dtype = model.get_base_model().dtype
    gathered = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            weight = _gather(parameter)
            gathered[name] = weight.to(dtype) if is_projector(name) else weight
    return gathered


def _gather(parameter: torch.nn.Parameter) -> torch.Tensor:
    """In half precision these are the numbers that DeepSpeed's forward has; it keeps finer ones for its optimizer."""
    from torch.distributed.tensor import DTensor

    if isinstance(parameter, DTensor):
        return parameter.full_tensor().cpu()
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([parameter]):
        return parameter.detach().cpu().clone()


def load_unsharded() -> None:
    """Models that are loaded from here on are unsharded; transformers would shard them while ZeRO-3's trainer lives."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
