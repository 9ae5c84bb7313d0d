"""The adapter, or the model in full, as it is trained, saved, and proved to be what the files hold."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.align.recipe import LoraSettings
from mmpref.errors import MmprefError, ModelError, RunError, reason_of
from mmpref.log import logger
from mmpref.origins.revisions import CONFIG
from mmpref.registry import resolve_path
from mmpref.run.manifest import STATE, is_whole_model, read_manifest
from mmpref.types import ModelRef
from mmpref.vlm.adapters import HEAD, check_files, load_weights
from mmpref.vlm.load_errors import load_errors

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel

    from mmpref.vlm.policy import Policy
    from mmpref.vlm.quantization import Placement


def lora_config(
    policy: Policy,
    settings: LoraSettings,
    train_projector: bool,
    in_full: Sequence[str] = (),
    *,
    train_vision_tower: bool = False,
) -> LoraConfig:
    """PEFT's configuration for this model.

    Args:
        in_full: names of further modules that are trained in full.
        train_vision_tower: adapt the vision tower's linear layers too.

    The pattern of target modules starts at the language model's own path: names such as ``q_proj`` occur in the
    vision tower too. The projector and the output head are never adapted; the projector is copied and trained in
    full (``modules_to_save``), so that switching the adapter off gives the base model's own.

    Raises:
        ModelError: the projector is not where the family table says, or the vision tower is not told apart.
    """
    from peft import LoraConfig
    from torch import nn

    from mmpref.vlm.vision_tower import VisionTower

    model, decoder = policy.base_model, policy.decoder
    root = next(path for path, module in model.named_modules() if module is decoder)
    linear = [name for name, module in decoder.named_modules() if isinstance(module, nn.Linear)]
    leaves = "|".join(sorted({re.escape(name.rpartition(".")[2]) for name in linear}))
    targets = [rf"{re.escape(root)}\.(?:.*\.)?(?:{leaves})"]
    _tell_of_experts(decoder)
    if train_vision_tower:
        targets += sorted({_any_layer(path) for path in VisionTower(policy).linear_layers()})
    projector = [projector_path(policy)] if train_projector else []
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=bool(settings.use_rslora),
        use_dora=bool(settings.use_dora),
        target_modules=targets[0] if len(targets) == 1 else f"(?:{'|'.join(targets)})",
        modules_to_save=[*projector, *in_full] or None,
        bias="none",
    )


def _tell_of_experts(decoder: torch.nn.Module) -> None:
    """Say which weights LoRA leaves as they are since they are no layers: those of all of a layer's experts are one
    tensor [experts, out, in]."""
    stacked = {".".join(path.split(".")[-2:]) for path, value in decoder.named_parameters() if value.dim() == 3}
    if stacked:
        logger.info(
            "LoRA adapts linear layers: weights that are none stay as they are (%s).", ", ".join(sorted(stacked))
        )


def _any_layer(path: str) -> str:
    """A pattern of this path in whichever of the layers that it names by their numbers."""
    return r"\.".join(r"\d+" if part.isdecimal() else re.escape(part) for part in path.split("."))


def projector_path(policy: Policy) -> str:
    """Where in the base model its projector is.

    Raises:
        ModelError: not where the family table says.
    """
    name = policy.family.projector
    paths = [path for path, _ in policy.base_model.named_modules() if path and path.rpartition(".")[2] == name]
    if len(paths) != 1:
        raise ModelError(
            f"{policy.ref} has {len(paths)} modules named {name!r}; training needs to know its projector.",
            "Use --set train_projector=false, or mend its row in mmpref/vlm/families.py.",
        )
    return paths[0]


def adapted_modules(model: PeftModel, policy: Policy) -> dict[str, int]:
    """How many modules are trained: by LoRA in the language model, the vision tower and elsewhere, and the projector in
    full.

    Keys: ``language_model``, ``vision_tower`` where it is adapted, ``elsewhere`` (0, or the pattern caught too much),
    ``projector``.
    """
    from peft.tuners.lora import LoraLayer
    from peft.utils import ModulesToSaveWrapper

    from mmpref.vlm.vision_tower import VisionTower

    inside = set(policy.decoder.modules())
    lora = [module for module in model.modules() if isinstance(module, LoraLayer)]
    tower = VisionTower(policy)
    seen = set(tower.modules()) if tower.is_told_apart else set()
    in_tower = sum(module in seen for module in lora)
    return {
        "language_model": sum(module in inside for module in lora),
        **({"vision_tower": in_tower} if in_tower else {}),
        "elsewhere": sum(module not in inside for module in lora) - in_tower,
        "projector": sum(
            isinstance(module, ModulesToSaveWrapper) and not name.endswith(HEAD)
            for name, module in model.named_modules()
        ),
    }


def without_card(model: PeftModel) -> None:
    """Let PEFT write no card beside each checkpoint and adapter: it takes longer than the weights of a small one, and
    the run writes its own."""
    model.create_or_update_model_card = lambda output_dir: None


def to_training_precision(model: PeftModel) -> None:
    """Keep the trained copy of the projector in fp32, as PEFT keeps LoRA: in bf16 a step of 1e-6 rounds to nothing. As
    LoRA's layers do, it takes and gives the base model's dtype, whoever calls it, mixed precision or none.

    Over a quantized base TRL has cast LoRA and projector to bf16, as QLoRA's authors do at steps of 1e-4. Both go back:
    LoRA's first weights are random, rounded or not; what was copied is copied anew, since a policy begins as its
    reference.
    """
    for _, parameter in _projector(model):
        parameter.data = parameter.data.float()
    dtype = model.get_base_model().dtype
    for module in _trained_copies(model):
        module.register_forward_pre_hook(_cast_inputs, with_kwargs=True)
        module.register_forward_hook(lambda _module, _inputs, output: _cast(output, dtype))
    if getattr(model, "is_quantized", False):
        _undo_rounding(model)


def _undo_rounding(model: PeftModel) -> None:
    from peft.utils import ModulesToSaveWrapper

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module.modules_to_save["default"].load_state_dict(module.original_module.state_dict())


def to_model_precision(model: PeftModel) -> None:
    """Bring the projector back to the base model's dtype, which is what every loader will compute with."""
    dtype = model.get_base_model().dtype
    for _, parameter in _projector(model):
        parameter.data = parameter.data.to(dtype)


@contextlib.contextmanager
def as_loaded(model: PeftModel) -> Iterator[None]:
    """Within it the model computes as whoever loads its adapter will: the projector in the base model's dtype. Its
    parameters stay the objects that they are, for an optimizer and DDP know them."""
    from torch import nn

    dtype = model.get_base_model().dtype
    modules = [module for copied in _trained_copies(model) for module in copied.modules()]
    originals = [(module, dict(module.named_parameters(recurse=False))) for module in modules]
    try:
        for module, parameters in originals:
            for name, parameter in parameters.items():
                rounded = parameter.detach().to(dtype)
                module._parameters[name] = nn.Parameter(rounded, requires_grad=False)
        yield
    finally:
        for module, parameters in originals:
            module._parameters.update(parameters)


def _trained_copies(model: PeftModel) -> list[torch.nn.Module]:
    """Of the modules that are trained in full, a reward model's head aside: it is fp32 wherever it is loaded."""
    from peft.utils import ModulesToSaveWrapper

    return [
        module.modules_to_save["default"]
        for name, module in model.named_modules()
        if isinstance(module, ModulesToSaveWrapper) and not name.endswith(HEAD)
    ]


def _cast_inputs(module: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    dtype = next(module.parameters()).dtype
    return tuple(_cast(value, dtype) for value in args), {name: _cast(value, dtype) for name, value in named.items()}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if hasattr(value, "is_floating_point") and value.is_floating_point() else value


def _projector(model: PeftModel) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if is_projector(name)]


def is_projector(parameter: str) -> bool:
    """Whether a PEFT model's parameter belongs to the projector that is trained in full."""
    return ".modules_to_save." in parameter and f".{HEAD}." not in parameter


def save(model: Any, processor: Any, ref: ModelRef, path: Path, state: dict[str, torch.Tensor] | None = None) -> None:
    """Write the adapter's and the processor's files into the run directory, naming the base as a plain client can load
    it; or a whole model's, where there is no adapter.

    Args:
        ref: the base model; its revision is the commit that was loaded.
        state: what is trained, where the model does not hold it as a whole.
    """
    if hasattr(model, "peft_config"):
        config = model.peft_config["default"]
        config.base_model_name_or_path = resolve_path(ref.model)
        config.revision = ref.revision
        # The vocabulary is the base model's; PEFT's "auto" would ask the Hub about it.
        model.save_pretrained(str(path), save_embedding_layers=False, state_dict=state)
    else:
        model.save_pretrained(str(path))
    processor.save_pretrained(str(path))


def check_saved_adapter(path: Path) -> None:
    """Whether the files of a finished run hold the adapter that their configuration names, and checkpoints theirs; or
    all weights of a model that was trained in full.

    Raises:
        ModelError: weights are missing or left over.
    """
    manifest = read_manifest(path)
    if is_whole_model(manifest):
        from mmpref.vlm.quantization import Placement

        with load_errors(f"model {path}"):
            Placement("meta", device_map="meta").load(ModelRef(str(path)), "auto")
        return
    model = ModelRef(manifest["model"]["id"], manifest["model"]["revision"])
    for config in sorted(path.rglob(CONFIG)):
        if STATE not in config.relative_to(path).parts:
            check_files(config.parent, model, bool(manifest["recipe"].get("trust_remote_code")))


def logits(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Logits [B, L, V] on the CPU in fp32 of one collated batch, dropout off."""
    import torch

    model.eval()
    device, dtype = model.device, model.dtype
    inputs = {
        key: value.to(device, dtype if value.is_floating_point() else None)
        for key, value in batch.items()
        if key != "completion_mask"
    }
    with torch.inference_mode():
        output: torch.Tensor = model(**inputs, use_cache=False).logits.float().cpu()
    return output


def kl_on_answers(logits: torch.Tensor, base: torch.Tensor, mask: torch.Tensor) -> float:
    """KL(adapter || base) in nats, the mean over the tokens of answers.

    Args:
        logits, base: [B, L, V], of the adapter and of the base, on the same batch.
        mask: [B, L], where the answers' tokens are; a token is predicted one place before.
    """
    own, other = (one[:, :-1][mask[:, 1:].bool()].log_softmax(-1) for one in (logits, base))
    return float((own.exp() * (own - other)).sum(-1).double().mean())


def verify_saved_adapter(
    path: Path,
    ref: ModelRef,
    batch: Mapping[str, Any],
    trained: torch.Tensor,
    dtype: str,
    placement: Placement,
    trust_remote_code: bool = False,
    slack: float = 1.0,
    in_full: bool = False,
    began: tuple[str, str | None] | None = None,
) -> dict[str, Any]:
    """Load the saved adapter with plain transformers and PEFT, and compare logits with the policy that was trained.

    Args:
        batch: one collated batch, as `logits` takes it.
        trained: the trained policy's logits on it.
        dtype: of the base model, such as ``float32``.
        placement: how the base was brought into memory, and is again.
        slack: times what is allowed for the order of sums, where the trained policy computes in another precision.
        in_full: what was saved is a whole model, in the precision that it was trained in.
        began: the adapter that training went on from, a folder or Hub id with its commit.

    Returns:
        ``changes`` (largest difference to the logits that training began with), ``differs`` (largest difference to the
        trained policy's) and ``tolerance``, all absolute; and ``kl``, the `kl_on_answers` from the base on the batch's
        answers, with ``kl_from_began``, that from the model with the adapter that training went on from.

    Raises:
        RunError: the adapter does nothing, or the files do not hold the trained policy.
    """
    import gc

    import torch
    from peft import PeftModel

    what = "model" if in_full else "adapter"
    gc.collect()  # The trainer is a knot of references; without this its model would stay beside ours.
    torch.cuda.empty_cache()
    base = placement.move(placement.load(ref, dtype, trust_remote_code))
    before = logits(base, batch)
    if in_full:
        del base
        adapted = placement.load(ModelRef(str(path)), dtype, trust_remote_code)
    else:
        adapted = PeftModel.from_pretrained(base, str(path))
    loaded = logits(placement.move(adapted), batch)
    start = logits_from(adapted, began, batch) if began else None
    changes = (loaded - (before if start is None else start)).abs().max().item()
    differs = (loaded - trained).abs().max().item()
    # Same weights, same operations: equal up to the order of sums, which a GPU does not fix. In 8 bits activations are
    # rounded too, and a last bit can decide to which side.
    exact = dtype == "float32" and placement.quantization != "8bit"
    tolerance = slack * (1e-5 if exact else 1e-2) * trained.abs().max().item()
    if not differs <= tolerance:
        raise RunError(
            f"The {what} saved in {path} is not the policy that was trained: loaded back, its logits "
            f"differ by {differs:.3g} (at most {tolerance:.3g} is allowed)."
        )
    if not changes > 0:
        of = began[0] if began and start is not None else ref
        raise RunError(
            f"The {what} saved in {path} does not change the logits of {of}: nothing was learned.",
            "Train with a higher --learning-rate=NUMBER, more --epochs=NUMBER, or a shorter warm-up: "
            "--set trainer.warmup_steps=NUMBER",
        )
    facts = {"changes": changes, "differs": differs, "tolerance": tolerance}
    if (mask := batch.get("completion_mask")) is not None:
        facts["kl"] = kl_on_answers(loaded, before, mask.cpu())
        if start is not None:
            facts["kl_from_began"] = kl_on_answers(loaded, start, mask.cpu())
    return facts


def logits_from(adapted: Any, adapter: tuple[str, str | None], batch: Mapping[str, Any]) -> torch.Tensor | None:
    """The logits [B, L, V] with another adapter's weights, of the same form, in the place of its own;
    None where that is gone, which no training must be lost for."""
    try:
        with load_errors(f"adapter {adapter[0]}"):
            load_weights(adapted, *adapter)
    except MmprefError as error:
        logger.warning("Warning: how far %s was moved could not be measured: %s.", adapter[0], reason_of(error)[:200])
        return None
    return logits(adapted, batch)
