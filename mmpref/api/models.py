"""`mmpref.load_policy`, and models that the caller has loaded in place of names."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from mmpref.api.options import NameOrPath, model_name
from mmpref.api.progress import library_bars
from mmpref.api.state import process_restored
from mmpref.errors import UsageError
from mmpref.tables.in_memory import MEMORY
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.recipes.schema import Dtype
    from mmpref.vlm.policy import Policy

_LOADING = ("revision", "dtype", "quantization", "device_map", "trust_remote_code")
"""Options that say how a model is loaded."""
_LOADED: WeakKeyDictionary[Policy, tuple[dict[str, Any], Any]] = WeakKeyDictionary()
"""Of policies that `load_policy` has loaded: by which options, and their state then (`_state`)."""


def load_policy(
    model: NameOrPath,
    *,
    revision: str | None = None,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    dtype: Dtype = "auto",
    device: str | None = None,
    quantization: Literal["4bit", "8bit"] | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> Policy:
    """Load a vision-language model, with or without an adapter, ready to render prompts and answer them.

    `build_dataset`, `evaluate` and `inspect` take it as their ``model``, and do not load it again.

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

    adapter = model_name("adapter", adapter) if adapter is not None else None
    name = model_name("model", model)
    how = {
        "dtype": dtype,
        "quantization": quantization,
        "device_map": device_map,
        "trust_remote_code": trust_remote_code,
    }
    with process_restored(), library_bars():
        policy = load(ModelRef(name, revision, adapter, adapter_revision), device=device, **how)  # type: ignore[arg-type]
    adapted = {"adapter": adapter, "adapter_revision": adapter_revision} if adapter else {}
    _LOADED[policy] = {"model": name, "revision": revision, **how, **adapted}, _state(policy)
    return policy


def is_loaded(model: Any) -> bool:
    """Whether a model is one in memory, and no name: a policy, or a pair of a transformers model and its processor."""
    if model is None or isinstance(model, str):  # seen without torch
        return False
    from mmpref.vlm.policy import Policy

    return isinstance(model, Policy) or (
        isinstance(model, tuple) and len(model) == 2 and hasattr(model[0], "parameters") and hasattr(model[0], "config")
    )


def refuse_loaded(model: Any) -> None:
    """Training changes a model in place, and starts from files that the adapter's card can name.

    Raises:
        UsageError: it is a loaded one.
    """
    if is_loaded(model):
        raise UsageError(
            "A loaded model is not trained: training would change it in place.",
            "Name its folder or Hub id as the model; save_pretrained() of model and processor makes a folder.",
        )


@contextlib.contextmanager
def named_model(options: Mapping[str, Any], *, adapters: bool = False) -> Iterator[dict[str, Any]]:
    """The options with a name in place of a loaded model. Within it the loader gives that model out for the name;
    afterwards modes and gradients are as they were.

    A policy of `load_policy` goes by the name that it was loaded by, as long as nobody has changed it; any other model
    by a hash of all that decides its answers.

    Args:
        adapters: whether ``adapter`` is an option too.

    Raises:
        UsageError: options that say how a model is loaded, or an adapter, beside a loaded one.
        ModelError: a model that cannot be used.
    """
    model: Any = options.get("model")
    if not is_loaded(model):
        yield dict(options)
        return
    for name in (*_LOADING, "adapter"):
        if options.get(name) is not None:
            raise UsageError(
                f"{name} says how a model is loaded, and this one is.", f"Leave {name} out, or name the model."
            )
    from mmpref.vlm.loaded_models import registered

    whole = model[0] if isinstance(model, tuple) else model.model
    with _restored(whole), process_restored():
        settings, policy = _name_and_policy(model, adapters)
        with registered(settings["model"], policy):
            yield {**options, **settings}


def model_ref(options: Mapping[str, Any]) -> ModelRef:
    """The model that options name, with its adapter if they name one.

    Raises:
        UsageError: what they name is none.
    """
    adapter = options.get("adapter")
    named = None if adapter is None else model_name("adapter", adapter)
    return ModelRef(
        model_name("model", options["model"]), options.get("revision"), named, options.get("adapter_revision")
    )


def _name_and_policy(model: Any, adapters: bool) -> tuple[dict[str, Any], Policy]:
    """What a recipe says of a loaded model, and the policy that the loader is to give out."""
    from mmpref.vlm.load import policy_of
    from mmpref.vlm.policy import Policy

    if isinstance(model, Policy) and model in _LOADED:
        settings, state = _LOADED[model]
        if state == _state(model) and (adapters or not model.ref.adapter):
            return settings, model
    base, processor = (model.base_model, model.processor) if isinstance(model, Policy) else model
    whole = model.model if isinstance(model, Policy) else base
    name = MEMORY + _fingerprint(whole, processor)
    _refuse_attention(whole)
    return {"model": name}, policy_of(whole, copy.deepcopy(processor), ModelRef(name))


@contextlib.contextmanager
def _restored(model: Any) -> Iterator[None]:
    """Eval mode within; afterwards every module's mode and every parameter's gradient flag as before."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _refuse_attention(model: Any) -> None:
    """Hiding image tokens needs a mask that only some implementations of attention take.

    Raises:
        UsageError: the model has another one.
    """
    used = getattr(model.config.get_text_config(), "_attn_implementation", None)
    if used not in (None, "sdpa", "eager"):
        raise UsageError(f"The loaded model attends by {used!r}.", "Load it with attn_implementation='sdpa'.")


def _state(policy: Policy) -> Any:
    """Where each parameter lies, how often it was changed in place, and all else that decides answers."""
    weights = [(parameter.data_ptr(), parameter._version) for parameter in policy.model.parameters()]
    return weights, _settings(policy.model, policy.processor)


def _fingerprint(model: Any, processor: Any) -> str:
    """16 hexadecimal digits over all that decides answers: the same model has them in any process."""
    import torch

    digest = hashlib.sha256(_settings(model, processor).encode())
    for name, tensor in sorted(model.state_dict().items()):
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _settings(model: Any, processor: Any) -> str:
    """What decides a model's answers beside its weights, as JSON: its configuration and how it generates, which
    adapters are on and how strongly, and what makes pixels, tokens and prompts."""
    said = {
        "config": {key: value for key, value in model.config.to_dict().items() if not key.endswith("name_or_path")},
        "generation": model.generation_config.to_dict(),
        "adapters": _adapters(model),
        "processor": processor.to_dict() if hasattr(processor, "to_dict") else None,
        "template": getattr(processor, "chat_template", None),
        "tokenizer": _tokenizer(getattr(processor, "tokenizer", None)),
    }
    return json.dumps(said, sort_keys=True, default=str)


def _tokenizer(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return str(tokenizer)
    # How the last call cut and padded stays in it, and says nothing of the next one.
    return {key: value for key, value in json.loads(backend.to_str()).items() if key not in ("truncation", "padding")}


def _adapters(model: Any) -> list[Any]:
    """Of each layer that PEFT has adapted: its name, whether its adapters are off, which of them are on, which are
    merged, and their scales."""
    return [
        [name, layer.disable_adapters, layer.active_adapters, layer.merged_adapters, getattr(layer, "scaling", None)]
        for name, layer in model.named_modules()
        if hasattr(layer, "merged_adapters")
    ]
