"""Parameters spread over processes (FSDP2, DeepSpeed ZeRO-3): what has to be different then."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from mmpref.errors import UsageError

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    from mmpref.align.trainer_mixin import Running


def prepare(trainer: Running) -> None:
    """Make a model ready for FSDP, if that is asked for; DeepSpeed needs nothing.

    transformers lists the layers of a family, and accelerate refuses a list with layers that are not there, such as
    those of CLIP's text model in LLaVA. And PEFT marks what it trains as frozen while the adapter is switched off, for
    nothing, as the reference is asked without gradients: FSDP would take its parts for frozen for good.

    Raises:
        UsageError: the launcher asked for DeepSpeed on a CPU, where accelerate leaves it out without a word.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and not trainer.is_deepspeed_enabled:
        raise UsageError("accelerate does not take DeepSpeed to a CPU.", "Launch it with the configuration ddp.")
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    if plugin.transformer_cls_names_to_wrap is None:
        there = {type(module).__name__ for module in trainer.model.modules()}
        listed = trainer.model.get_base_model()._no_split_modules or ()
        plugin.transformer_cls_names_to_wrap = sorted(there.intersection(listed))
    for module in trainer.model.modules():
        if isinstance(module, BaseTunerLayer | ModulesToSaveWrapper):
            module.enable_adapters = partial(_switch, module)


def _switch(module: BaseTunerLayer | ModulesToSaveWrapper, enabled: bool) -> None:
    module._disable_adapters = not enabled


def is_spread(model: torch.nn.Module) -> bool:
    """Whether FSDP or ZeRO-3 has divided its parameters among processes."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) or hasattr(parameter, "ds_id") for parameter in model.parameters())


def gathered(model: PeftModel) -> dict[str, torch.Tensor]:
    """What is trained of a model that is spread, whole and in the base's precision. All processes must ask."""
    from mmpref.align.adapter import is_projector

    dtype = model.get_base_model().dtype
    found = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            whole = _whole(value)
            found[name] = whole.to(dtype) if is_projector(name) else whole
    return found


def _whole(parameter: torch.nn.Parameter) -> torch.Tensor:
    """In half precision these are the numbers that DeepSpeed's forward has; it keeps finer ones for its optimizer."""
    from torch.distributed.tensor import DTensor

    if isinstance(parameter, DTensor):
        return parameter.full_tensor().cpu()
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([parameter]):
        return parameter.detach().cpu().clone()


def load_whole() -> None:
    """Models that are loaded from here on are whole; transformers would divide them while ZeRO-3's trainer lives."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
