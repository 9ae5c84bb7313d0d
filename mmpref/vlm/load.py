"""Loading a policy from its reference: family, weights, adapter, prompt format, and the checks that it can be used."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import torch
from transformers import CONFIG_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoProcessor

from mmpref.errors import ModelError
from mmpref.hub_cache import cache_first
from mmpref.hub_ids import refuse_page
from mmpref.log import logger
from mmpref.origins.revisions import commit_of
from mmpref.registry import resolve_path
from mmpref.types import ModelRef
from mmpref.vlm.adapters import load_adapter, refuse_adapter
from mmpref.vlm.chat_template import set_prompt_format
from mmpref.vlm.decoding import ignored_settings
from mmpref.vlm.families import DECODERS, Family, find_family
from mmpref.vlm.load_errors import load_errors, needs_own_code
from mmpref.vlm.loaded_models import registered_policy
from mmpref.vlm.policy import Policy, eos_ids_of
from mmpref.vlm.quantization import Placement
from mmpref.vlm.smoke_test import adapter_changes_nothing, run_smoke_test
from mmpref.vlm.verify import verify_family

_SMALL = 20_000_000
"""Parameters of a model that runs on one thread: the hand-over between threads costs more than the work."""
_ITS_OWN = "transformers has its own for it: --set trust_remote_code=false takes them."
_CONVERTED = (
    "Take a conversion to those, if there is one: names of such often end in -hf, as OpenGVLab/InternVL3-8B-hf."
)


def load_policy(
    ref: ModelRef,
    *,
    dtype: str = "auto",
    device: str | None = None,
    quantization: str | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> Policy:
    """Load a model, and its adapter if it names one; in eval mode, tried on one picture.

    Args:
        dtype: ``auto`` is fp32 on a CPU and the checkpoint's own elsewhere; or ``float32``, ``bfloat16``...
        device: such as ``cuda:0``; by default the accelerator, if there is one: this process's own, where several
            were launched together.
        quantization, device_map: see `mmpref.vlm.quantization.Placement`.

    Raises:
        ModelError: no such model or adapter, a text-only model, an unsupported architecture, an adapter that was
            trained on another revision of the base, one that changes nothing in this model, or a quantization that
            bitsandbytes cannot do here. (An adapter of another base is only warned of: ids change, and local
            folders have none.)
    """
    if (policy := registered_policy(ref)) is not None:
        return policy
    family, revision = identify(ref, trust_remote_code)
    local_gpu = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device = device or (local_gpu if torch.cuda.is_available() else "cpu")
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    placement, resolved = Placement(device, quantization, device_map), replace(ref, revision=revision)
    with load_errors(f"model {ref}"), cache_first(ref.model, revision):
        processor = AutoProcessor.from_pretrained(
            resolve_path(ref.model), revision=revision, trust_remote_code=trust_remote_code
        )
        model = placement.load(resolved, dtype, trust_remote_code)
    if getattr(model, "_hf_peft_config_loaded", False):
        refuse_adapter(resolved)
    _set_prompt_format(model, processor, family, ref)
    if device == "cpu" and model.num_parameters() < _SMALL:
        torch.set_num_threads(1)
    if ignored := ignored_settings(model.generation_config):
        logger.warning(
            "Warning: the generation_config of %s sets %s, which mmpref does not go by.",
            ref.model,
            ", ".join(ignored),
        )
    adapted = load_adapter(model, resolved) if ref.adapter is not None else None
    if adapted:
        resolved = replace(resolved, adapter_revision=adapted.commit or ref.adapter_revision)
    placed = placement.move(adapted.model if adapted else model)
    policy = Policy(placed.eval(), processor, family, resolved, placement)
    policy.replaced = adapted.replaced if adapted else ()
    run_smoke_test(policy)
    if adapted and adapter_changes_nothing(policy):
        raise ModelError(
            f"The adapter {ref.adapter} changes nothing in {ref.model}: with and without it, the model makes the "
            "same of a picture, and of every token."
        )
    verify(policy)
    return policy


def policy_of(model: Any, processor: Any, ref: ModelRef) -> Policy:
    """A policy of a model in memory and of its processor, whose prompt format is set; the model stays as it is.

    Args:
        model: a transformers model, or the `peft.PeftModel` around one.
        ref: what it is called.

    Raises:
        ModelError: a text-only model, an unsupported architecture, or one that cannot be used with this processor.
    """
    config = model.config
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise _unusable(ref, config)
    family = find_family(config.model_type, str(ref))
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    _set_prompt_format(base, processor, family, ref)
    policy = Policy(model, processor, family, ref)
    run_smoke_test(policy)
    verify(policy)
    return policy


def verify(policy: Policy) -> None:
    """Try a family that nobody has tried (`mmpref.vlm.verify`).

    Raises:
        ModelError: it cannot be used.
    """
    family = policy.family
    decoder_type = policy.base_model.config.get_text_config().model_type
    if not (family.tested and decoder_type in DECODERS):
        logger.info(
            "Nobody has tried %r models with a %r decoder: comparing dropped with masked image tokens ...",
            family.model_type,
            decoder_type,
        )
        policy.verification = verify_family(policy)


def identify(ref: ModelRef, trust_remote_code: bool = False) -> tuple[Family, str | None]:
    """The family of a model, and the commit of its revision (None for a local folder), without loading weights.

    Raises:
        ModelError: as `load_policy`.
    """
    refuse_page(ref.model)
    with load_errors(f"model {ref}", name=ref.model):
        try:
            commit = commit_of(ref.model, ref.revision)
            with cache_first(ref.model, commit):
                config = AutoConfig.from_pretrained(
                    resolve_path(ref.model), revision=commit or ref.revision, trust_remote_code=trust_remote_code
                )
        except (OSError, ValueError) as error:
            refuse_adapter(ref)
            if needs_own_code(error):
                raise _own_classes(ref, _CONVERTED) from error
            raise
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise _unusable(ref, config)
    return find_family(config.model_type, str(ref)), commit or ref.revision


def _unusable(ref: ModelRef, config: Any) -> ModelError:
    """Why there is no class of transformers for a model of images and text with this configuration."""
    if type(config).__module__.partition(".")[0] != "transformers":
        known = config.model_type in CONFIG_MAPPING
        return _own_classes(ref, _ITS_OWN if known else _CONVERTED)
    return ModelError(
        f"{ref} is a {config.model_type!r} model: it writes no text about images.",
        "mmpref needs a vision-language model (image-text-to-text).",
    )


def _own_classes(ref: ModelRef, hint: str) -> ModelError:
    return ModelError(
        f"{ref} comes with classes of its own: mmpref runs vision-language models of transformers' own classes only.",
        hint,
    )


def _set_prompt_format(model: Any, processor: Any, family: Family, ref: ModelRef) -> None:
    if getattr(processor, "tokenizer", None) is None:
        raise ModelError(f"{ref} has a processor without a tokenizer.", "Save its processor with it.")
    set_prompt_format(processor, eos_ids_of(model, processor.tokenizer), family.vicuna_prompt, str(ref))
