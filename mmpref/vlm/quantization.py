"""Where a model's weights go, and how they are stored: in full, or quantized as QLoRA (arXiv 2305.14314) wants it.

Quantized are the linear layers of the language model only: those that LoRA adapts. Vision tower, projector and output
head stay as they are, so that the projector can be trained in full and the head's logits are those of full weights.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.distributed import is_model_sharded
from mmpref.errors import ModelError
from mmpref.registry import resolve_path
from mmpref.types import ModelRef
from mmpref.vlm.families import find_family
from mmpref.vlm.load_errors import first_few

if TYPE_CHECKING:
    from torch import nn

_BLOCK = 64
"""Values of a row that share a scale in bitsandbytes' 4-bit format."""


@dataclass(frozen=True)
class Placement:
    """How a model is brought into memory.

    Args:
        device: such as ``cuda:0``.
        quantization: ``4bit`` (NF4, the scales quantized too, computing in the dtype of the other weights) or ``8bit``
            (LLM.int8(), in which a large value somewhere in a batch changes how all of the batch is rounded: answers
            may depend on the batch size), by bitsandbytes; None for weights in full.
        device_map: such as ``auto``, to spread the model over devices; then ``device`` is not used.
    """

    device: str
    quantization: str | None = None
    device_map: str | None = None

    def load(self, ref: ModelRef, dtype: str, trust_remote_code: bool = False) -> Any:
        """The base model of a reference, by plain transformers.

        Args:
            dtype: of the weights that are not quantized, as ``from_pretrained`` takes it.

        Raises:
            ModelError: bitsandbytes is not installed, or would compute wrong values, or the files lack weights.
            OSError, ValueError, ...: whatever ``from_pretrained`` raises.
        """
        from transformers import AutoModelForImageTextToText

        source = {"revision": ref.revision, "trust_remote_code": trust_remote_code}
        options: dict[str, Any] = {} if self.device_map is None else {"device_map": self.device_map}
        if self.quantization is not None:
            options = {
                "device_map": self.device_map or {"": self.device},
                "quantization_config": self._quantized(ref, source),
            }
        model, info = AutoModelForImageTextToText.from_pretrained(
            resolve_path(ref.model), dtype=dtype, output_loading_info=True, **source, **options
        )
        missing = sorted(info["missing_keys"])
        if missing and not is_model_sharded():  # where a model is divided, only one process reads the files
            raise ModelError(
                f"The files of {ref} lack {len(missing)} of the model's weights, which would be random: "
                f"{first_few(missing)}.",
                "Is the download whole, and of this architecture?",
            )
        if getattr(model, "is_loaded_in_4bit", False):
            _compute_as_trained(model)
        return model

    def move(self, model: Any) -> Any:
        """The model on its device. One that is quantized or spread is where it belongs already."""
        placed = self.quantization or self.device_map or getattr(model, "is_quantized", False)
        return model if placed else model.to(self.device)

    def _quantized(self, ref: ModelRef, source: dict[str, Any]) -> Any:
        import torch

        if importlib.util.find_spec("bitsandbytes") is None:
            raise ModelError(f"{self.quantization} loading needs bitsandbytes.", "pip install 'mmpref[quantization]'")
        # Every call in 8 bits warns that it casts its inputs.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig

        config = AutoConfig.from_pretrained(resolve_path(ref.model), **source)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, trust_remote_code=source["trust_remote_code"])
        if self.quantization == "4bit" and self.device.startswith("cpu"):
            _refuse_wrong_kernel(model, ref)
        return BitsAndBytesConfig(
            load_in_4bit=self.quantization == "4bit",
            load_in_8bit=self.quantization == "8bit",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            llm_int8_skip_modules=unquantized_modules(model, find_family(config.model_type, str(ref)).projector),
        )


def bitsandbytes_arguments(model: Any) -> dict[str, Any]:
    """The arguments of transformers' ``BitsAndBytesConfig`` that quantize a base as this one is."""
    config = model.config.quantization_config
    if config.load_in_8bit:
        return {"load_in_8bit": True, "llm_int8_skip_modules": config.llm_int8_skip_modules}
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": config.bnb_4bit_quant_type,
        "bnb_4bit_use_double_quant": config.bnb_4bit_use_double_quant,
        "bnb_4bit_compute_dtype": str(config.bnb_4bit_compute_dtype).removeprefix("torch."),
        "llm_int8_skip_modules": config.llm_int8_skip_modules,
    }


def unquantized_modules(model: Any, projector: str) -> list[str]:
    """Paths of the modules that are not quantized: all beside the language model, the output head and the projector."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    in_full = [
        path
        for path, module in model.named_modules()
        if module is head or (projector and path.rpartition(".")[2] == projector)
    ]
    return sorted({*in_full, *_outside_decoder(model, decoder)})


def _outside_decoder(module: nn.Module, decoder: nn.Module, at: str = "") -> Iterator[str]:
    """The highest modules that neither are nor hold the language model."""
    for name, child in module.named_children():
        if child is decoder:
            continue
        if any(module is decoder for module in child.modules()):
            yield from _outside_decoder(child, decoder, f"{at}{name}.")
        else:
            yield f"{at}{name}"


def _refuse_wrong_kernel(model: Any, ref: ModelRef) -> None:
    from torch import nn

    sizes = {module.in_features for module in model.get_decoder().modules() if isinstance(module, nn.Linear)}
    if odd := sorted(size for size in sizes if size % _BLOCK):
        # A block of 64 then goes over the end of a row, and the kernel takes another block's scale, silently.
        raise ModelError(
            f"{ref} cannot be loaded in 4 bits on a CPU: linear layers of its language model have "
            f"{', '.join(map(str, odd))} inputs, and bitsandbytes' CPU kernel is right for multiples of {_BLOCK} only.",
            "Use quantization=8bit, or a GPU.",
        )


def _compute_as_trained(model: Any) -> None:
    """Let 4-bit layers compute in the model's own dtype, by the same kernel whether it is trained or not.

    On CPUs with AVX512-BF16 bitsandbytes packs the weights anew at the first call in eval mode, for a kernel that
    computes in bf16 and lets no gradient through, then or later: a training after it would go on, and learn nothing in
    the layers below.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.compute_dtype, module.compute_type_is_set = model.dtype, True
            module.support_avx512bf16_for_cpu = False
    model.config.quantization_config.bnb_4bit_compute_dtype = model.dtype
