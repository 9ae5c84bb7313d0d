"""Adapters of any kind that PEFT loads: put on a base whole, or refused with the names of what does not fit."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import InputError, ModelError, UsageError, reason_of
from mmpref.hub_cache import cache_first, commit_at
from mmpref.hub_ids import refuse_page
from mmpref.log import logger
from mmpref.origins.revisions import CONFIG
from mmpref.registry import resolve_path
from mmpref.text_files import read_json
from mmpref.types import ModelRef
from mmpref.vlm.base_weights import refuse_other_weights
from mmpref.vlm.load_errors import first_few, load_errors

if TYPE_CHECKING:
    import torch

HEAD = "value_head"
"""Of a reward model (`mmpref.vlm.reward_model`)."""
_NAME = "default"
_PREFIX = "base_model.model."
_KEEPS_THE_BASE = ("true", "false", "none", "gaussian", "eva", "orthogonal", "mica")
"""PEFT's ``init_lora_weights`` that leave the base's weights as they are; the others take off them what LoRA begins
with."""


@dataclass(frozen=True)
class Adapted:
    """A base with an adapter on it.

    Args:
        model: the `peft.PeftModel`.
        commit: of the adapter; None for a local folder.
        replaced: parameters of the base that the adapter's file holds too (biases, whole embeddings), and what they
            were: PEFT writes over them, and leaves them so when the adapter is switched off.
    """

    model: Any
    commit: str | None
    replaced: tuple[tuple[torch.nn.Parameter, torch.Tensor], ...] = ()


def base_of(adapter: str, revision: str | None = None) -> str | None:
    """The base that an adapter names, "" where it names none; None where there is no adapter of that name."""
    try:
        return str(_config(adapter, revision)[0].get("base_model_name_or_path") or "")
    except (OSError, ValueError, InputError):
        return None


def refuse_no_adapter(name: str) -> None:
    """Refuse a folder that holds no adapter.

    Raises:
        ModelError: it is one.
    """
    if Path(name).is_dir() and not (Path(name) / CONFIG).is_file():
        hint = "It is a model: give it as --model." if (Path(name) / "config.json").is_file() else ""
        raise ModelError(f"{name} is no adapter: it has no {CONFIG}.", hint)


def refuse_adapter(ref: ModelRef) -> None:
    """Tell an adapter from a model. Where its configuration stands beside a model's, transformers loads the base that
    it names with the adapter in it, and leaves the model's own weights out.

    Raises:
        ModelError: it is an adapter.
    """
    base = base_of(ref.model, ref.revision)
    if base is not None:
        raise ModelError(
            f"{ref.model} is an adapter, not a model.", f"Use --model={base or 'BASE'} --adapter={ref.model}."
        )


def has_adapter_on(model: Any) -> bool:
    """Whether layers of a model in memory that PEFT has adapted have an adapter that is on, or merged."""
    return any(
        layer.merged_adapters or (layer.active_adapters and not layer.disable_adapters)
        for layer in model.modules()
        if hasattr(layer, "merged_adapters")
    )


def load_adapter(model: Any, ref: ModelRef) -> Adapted:
    """Put the adapter on the model.

    Raises:
        ModelError: no such adapter, trained on another revision of the base, of a kind that stands beside the model
            and not in it, or its file lacks weights that its configuration names, or holds others.
    """
    assert ref.adapter is not None
    config, commit = check_adapter(ref)
    if HEAD in (config.get("modules_to_save") or ()) and not hasattr(model, HEAD):
        raise ModelError(
            f"The adapter {ref.adapter} is a reward model: it gives values, and writes no answers.",
            "Evaluate it with --benchmark=reward-model.",
        )
    base = config.get("base_model_name_or_path")
    hint = "" if _is_base(base, ref) else base or ""
    with load_errors(f"adapter {ref.adapter}", hint), cache_first(ref.adapter, commit):
        adapted, replaced = apply_adapter(model, ref.adapter, commit)
    return Adapted(adapted, commit, replaced)


def check_adapter(ref: ModelRef) -> tuple[dict[str, Any], str | None]:
    """What an adapter's configuration says, and its commit (None for a folder); a warning where it names another base.

    Raises:
        ModelError: no such adapter, one that was trained on another revision or other weights of the base, or one that
            changes the base's own weights.
    """
    assert ref.adapter is not None
    refuse_page(ref.adapter)
    refuse_no_adapter(ref.adapter)
    with load_errors(f"adapter {ref.adapter}", name=ref.adapter):
        config, commit = _config(ref.adapter, ref.adapter_revision)
    _refuse_changed_base(ref.adapter, config)
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    is_known = refuse_other_weights(replace(ref, adapter_revision=commit))
    if base and not is_known and not _is_base(base, ref):
        logger.warning("Warning: the adapter %s was trained on %s, not on %s.", ref.adapter, base, ref.model)
    elif base and revision and ref.revision and revision != ref.revision:
        raise ModelError(
            f"The adapter {ref.adapter} was trained on {base} at {revision}, not at {ref.revision}.",
            f"Use --revision={revision}.",
        )
    return config, commit


def _refuse_changed_base(adapter: str, config: Mapping[str, Any]) -> None:
    """Refuse an adapter beside which PEFT changes the base's weights when it puts the layers on: switched off, what is
    left would not be the base, and not what it began with where that is drawn (``pissa_niter_4``).

    Raises:
        ModelError: it is one.
    """
    begun = config.get("init_lora_weights")
    if config.get("kasa_config") is not None:
        begun = "kasa"
    if str(begun).lower() in _KEEPS_THE_BASE:
        return
    raise ModelError(
        f"Beside the adapter {adapter} PEFT changes the weights of the base itself ({begun!r} in its {CONFIG}): with "
        "the adapter off, the model would not be the base.",
        "Have it converted to plain LoRA where it was trained, by path_initial_model_for_weight_conversion of PEFT's "
        "save_pretrained; where PEFT cannot, save the base as PEFT changed it and give that as --model, with "
        '"init_lora_weights": true in the adapter\'s configuration.',
    )


def _is_base(name: str | None, ref: ModelRef) -> bool:
    return name in (ref.model, resolve_path(ref.model))


def _config(adapter: str, revision: str | None) -> tuple[dict[str, Any], str | None]:
    from huggingface_hub import hf_hub_download

    if Path(adapter).is_dir():
        path, commit = Path(adapter) / CONFIG, None
    else:
        commit = commit_at(adapter, revision, CONFIG)
        path = Path(hf_hub_download(adapter, CONFIG, revision=commit))
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path} is no configuration of an adapter.")
    return config, commit


def apply_adapter(
    model: Any, adapter: str, revision: str | None = None
) -> tuple[Any, tuple[tuple[torch.nn.Parameter, torch.Tensor], ...]]:
    """Put an adapter's layers into a model and its weights into them; the `peft.PeftModel`, and `Adapted.replaced`.

    Raises:
        ModelError: as `load_weights`, or the adapter is prompts that stand in front of the model.
        OSError, ValueError, KeyError, RuntimeError, TypeError: whatever PEFT raises.
    """
    from accelerate.hooks import remove_hook_from_submodules
    from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, PeftConfig, PeftModel

    config = PeftConfig.from_pretrained(adapter, revision=revision)
    if config.is_prompt_learning:
        raise ModelError(
            f"The adapter {adapter} is learned prompts ({config.peft_type.value}), which stand in front of a model; "
            "mmpref reads and trains adapters that stand in its layers."
        )
    config.inference_mode = True
    if {"cpu", "disk"} & set((getattr(model, "hf_device_map", None) or {}).values()):
        remove_hook_from_submodules(model)  # PEFT puts them back when the weights are there
    peft_class = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type, PeftModel)
    adapted = peft_class(model, config, _NAME)
    return adapted, load_weights(adapted, adapter, revision)


def load_weights(
    adapted: Any, adapter: str, revision: str | None = None, *, trainable: bool = False
) -> tuple[tuple[torch.nn.Parameter, torch.Tensor], ...]:
    """Put an adapter's weights into the layers that a `peft.PeftModel` has for them; `Adapted.replaced`.

    Names that adapters were saved with before transformers 4.52 are brought to today's, those of modules that were
    trained in full too, which PEFT forgets.

    Args:
        trainable: leave the model in training mode.

    Raises:
        ModelError: weights are missing or left over.
        OSError, ValueError, KeyError, RuntimeError, TypeError: whatever PEFT raises.
    """
    from peft.utils import load_peft_weights

    weights = load_peft_weights(adapter, device="cpu", revision=revision)
    names = _current_names(adapted, list(weights))
    _refuse_mismatch(adapter, _missing_weights(adapted, set(names.values())), [])
    parameters = dict(adapted.named_parameters(remove_duplicate=False))
    before = [(parameters[name], parameters[name].detach().clone()) for name in names.values() if name in parameters]
    mapping = {
        f"^{re.escape(old.removeprefix(_PREFIX))}$": new.removeprefix(_PREFIX)
        for old, new in names.items()
        if old != new
    }
    result = adapted.load_adapter(
        adapter,
        _NAME,
        is_trainable=trainable,
        torch_device="cpu",
        key_mapping=mapping or None,
        **({"revision": revision} if revision else {}),
    )
    expected = _expected(adapted)
    missing = [name for name in map(_without_adapter_name, result.missing_keys) if name in expected]
    _refuse_mismatch(adapter, missing, [_without_adapter_name(name) for name in result.unexpected_keys])
    return tuple(pair for pair in before if not pair[0].is_meta and not pair[0].equal(pair[1]))


def check_files(folder: Path, ref: ModelRef, trust_remote_code: bool = False) -> None:
    """Whether an adapter's file holds the weights that its configuration names for its base, and no others. Nothing of
    the base is read but its configuration.

    Raises:
        ModelError: as `load_adapter`.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(
            resolve_path(ref.model), revision=ref.revision, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError, UsageError) as error:
        logger.warning(
            "Warning: the adapter's weights are not compared with its base: %s cannot be read here (%s).",
            ref.model,
            reason_of(error)[:200],
        )
        return
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights copied to where none are kept
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
        if HEAD in (_config(str(folder), None)[0].get("modules_to_save") or ()):
            model.add_module(HEAD, torch.nn.Linear(config.get_text_config().hidden_size, 1, bias=False))
        with load_errors(f"adapter {folder}"):
            apply_adapter(model, str(folder))


def check_names(adapter: str, adapted: Any) -> None:
    """Whether a file holds the weights of the adapter that is on a model, and no others.

    Raises:
        ModelError: it does not.
    """
    from peft.utils import load_peft_weights

    in_file, expected = set(load_peft_weights(adapter, device="cpu")), _expected(adapted)
    _refuse_mismatch(adapter, sorted(expected - in_file), sorted(in_file - expected - set(adapted.state_dict())))


def _current_names(adapted: Any, names: list[str]) -> dict[str, str]:
    """What each of a file's names is called in this model; a name that is known, or that no rule makes known, stays."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    known = _expected(adapted) | set(adapted.state_dict())
    rules = [
        rule
        for rule in get_model_conversion_mapping(adapted.get_base_model()) or ()
        if isinstance(rule, WeightRenaming)
    ]
    current = {}
    for name in names:
        renamed = name
        if name not in known and name.startswith(_PREFIX):
            renamed = _PREFIX + rename_source_key(name.removeprefix(_PREFIX), rules, [])[0]
        current[name] = renamed if renamed in known else name
    return current


def _expected(adapted: Any) -> set[str]:
    """The names that PEFT would save of it."""
    from peft import get_peft_model_state_dict

    return set(get_peft_model_state_dict(adapted, save_embedding_layers=False))


def _missing_weights(adapted: Any, in_file: set[str]) -> list[str]:
    """Weights that a file has to hold of modules trained in full and of trained tokens; PEFT looks them up blindly."""
    from peft.utils.other import AuxiliaryTrainingWrapper

    return [
        f"{path}.{name}"
        for path, module in adapted.named_modules()
        if isinstance(module, AuxiliaryTrainingWrapper)
        for name in module.adapter_state_dict_load_map(_NAME)
        if f"{path}.{name}" not in in_file
    ]


def _without_adapter_name(name: str) -> str:
    """A parameter's name as adapter files have it: without the adapter's own."""
    return name.replace(f".{_NAME}", "")


def _refuse_mismatch(adapter: str, missing: list[str], unexpected: list[str]) -> None:
    faults = [
        f"{what}: {first_few([name.removeprefix(_PREFIX) for name in names])}"
        for what, names in (
            (f"lacks {len(missing)} of the weights that its configuration names", missing),
            (f"holds {len(unexpected)} that this model has no place for", unexpected),
        )
        if names
    ]
    if faults:
        raise ModelError(
            f"The file of the adapter {adapter} {'; and it '.join(faults)}.",
            f"Is it whole, and of this base? See its {CONFIG}.",
        )
