"""A policy: base model at a revision, with or without an adapter at a revision, ready to render, embed and answer."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import MmprefError, ModelError
from mmpref.registry import resolve_path
from mmpref.text_files import read_text
from mmpref.types import Message, ModelRef
from mmpref.vlm.families import DECODERS, Family, find_family
from mmpref.vlm.origin import commit_of
from mmpref.vlm.placement import Placement
from mmpref.vlm.prompter import Prompter

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from mmpref.vlm.decode import Decoding

talk = logging.getLogger("mmpref")

_SMALL = 20_000_000


@dataclass(frozen=True)
class Request:
    """One prompt to answer.

    Args:
        messages: turns that end with the user's; images belong to the first user turn.
        images: decoded, RGB.
        stream: names of its random stream, where sampling is asked for.
    """

    messages: tuple[Message, ...]
    images: tuple[Image.Image, ...]
    stream: tuple[str | int, ...] = ()


class Policy:
    """A loaded vision-language model. Make one with `Policy.load`.

    Attributes:
        model: the transformers model, or the `peft.PeftModel` around it; in eval mode.
        base_model: the transformers model itself (with the adapter's layers in it, if there is one).
        prompter: renders and preprocesses prompts; it can go to other processes.
        processor: its chat template writes the family's true format (`mmpref.vlm.prompts`).
        ref: what was loaded, revisions resolved to commits where they come from the Hub.
        placement: how it was brought into memory.
        proof: what the probe of a family that nobody has tried found (`mmpref.vlm.probe`), else None.
    """

    def __init__(
        self, model: Any, processor: Any, family: Family, ref: ModelRef, placement: Placement | None = None
    ) -> None:
        self.model = model
        self.base_model: Any = model.get_base_model() if hasattr(model, "peft_config") else model
        self.processor = processor
        self.prompter = Prompter(processor)
        self.tokenizer: Any = processor.tokenizer
        self.family = family
        self.ref = ref
        config = self.base_model.config
        image_token = getattr(config, "image_token_id", None)
        self.image_token_id: int = config.image_token_index if image_token is None else image_token
        self.eos_ids = _eos_ids(self.base_model, self.tokenizer)
        suppressed = self.base_model.generation_config.suppress_tokens or []
        marks = [getattr(config, f"{kind}_token_id", None) for kind in ("video", "audio")]
        self.never_written = {self.image_token_id, *suppressed, *(mark for mark in marks if mark is not None)}
        self.placement = placement or Placement(str(self.device))
        self.proof: dict[str, float] | None = None
        self._stops: dict[int, bool] = {}

    @classmethod
    def load(
        cls, ref: ModelRef, *, dtype: str = "auto", device: str | None = None, quantization: str | None = None,
        device_map: str | None = None, trust_remote_code: bool = False,
    ) -> Policy:  # fmt: skip
        """Load a model, and its adapter if it names one.

        Args:
            dtype: ``auto`` is fp32 on a CPU and the checkpoint's own elsewhere; or ``float32``, ``bfloat16``...
            device: such as ``cuda:0``; by default the accelerator, if there is one: this process's own, where several
                were launched together.
            quantization, device_map: see `mmpref.vlm.placement.Placement`.

        Raises:
            ModelError: no such model or adapter, a text-only model, an unsupported architecture, an adapter that was
                trained on another revision of the base, one that changes nothing in this model, or a quantization that
                bitsandbytes cannot do here. (An adapter of another base is only warned of: ids change, and local
                folders have none.)
        """
        import torch
        from transformers import AutoProcessor

        family, revision = identify(ref, trust_remote_code)
        own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        device = device or (own if torch.cuda.is_available() else "cpu")
        if dtype == "auto" and device == "cpu":
            dtype = "float32"
        placement, resolved = Placement(device, quantization, device_map), replace(ref, revision=revision)
        with _load_errors(str(ref)):
            processor = AutoProcessor.from_pretrained(
                resolve_path(ref.model), revision=revision, trust_remote_code=trust_remote_code
            )
            model = placement.load(resolved, dtype, trust_remote_code)
        _set_prompt_format(model, processor, family, ref)
        if device == "cpu" and model.num_parameters() < _SMALL:
            torch.set_num_threads(1)  # for small models the hand-over between threads costs more than the work
        if ref.adapter is not None:
            model, commit = load_adapter(model, resolved)
            resolved = replace(resolved, adapter_revision=commit or ref.adapter_revision)
        policy = cls(placement.move(model).eval(), processor, family, resolved, placement)
        text = policy.base_model.config.get_text_config().model_type
        if not (family.tested and text in DECODERS):
            from mmpref.vlm.probe import probe

            talk.info("Nobody has tried %r models with a %r decoder: comparing dropped with masked image tokens ...",
                      family.model_type, text)  # fmt: skip
            policy.proof = probe(policy)
        return policy

    @property
    def device(self) -> torch.device:
        device: torch.device = self.base_model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.base_model.dtype
        return dtype

    @property
    def decoder(self) -> Any:
        """The language model that the image embeddings enter."""
        return self.base_model.get_decoder()

    @property
    def causal_prompts(self) -> bool:
        """Whether a prompt's text sees only what stands before it (PaliGemma's sees the whole prompt)."""
        return getattr(self.decoder.config, "use_bidirectional_attention", None) is not True

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Text embeddings [..., H] of token ids [...]."""
        embedded: torch.Tensor = self.base_model.get_input_embeddings()(ids)
        return embedded

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] of last hidden states [..., H], scaled as the model does after its output layer."""
        logits: torch.Tensor = self.base_model.get_output_embeddings()(hidden)
        return self._scaled(logits)

    @cached_property
    def _scaled(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """What the model does to logits behind its output layer. Configurations name scales and caps that some classes
        apply and others do not, so the model's own logits decide."""
        import torch

        seen: list[torch.Tensor] = []
        hook = self.decoder.register_forward_hook(lambda _module, _args, output: seen.append(output.last_hidden_state))
        ids = torch.tensor([sorted({*range(2, 40)} - self.never_written - self.eos_ids)[:8]], device=self.device)
        try:
            with torch.inference_mode():
                own = self.base_model(
                    input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
                ).logits.float()
                raw = self.base_model.get_output_embeddings()(seen[0]).float()
        finally:
            hook.remove()
        config = self.base_model.config.get_text_config()
        scale, divisor = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
        cap = getattr(config, "final_logit_softcapping", None)
        ways: list[Callable[[torch.Tensor], torch.Tensor]] = [lambda logits: logits]
        ways += [lambda logits: logits * scale] if scale else []
        ways += [lambda logits: logits / divisor, lambda logits: logits * divisor] if divisor else []
        ways += [lambda logits: (logits / cap).tanh() * cap] if cap else []
        differences = [float((way(raw) - own).abs().max()) for way in ways]
        best = min(range(len(ways)), key=differences.__getitem__)
        if not differences[best] <= 0.05 * float(own.abs().max()):
            raise ModelError(f"{self.ref} changes its logits behind its output layer in an unknown way.",
                             "Supported model types: mmpref list families.")  # fmt: skip
        return ways[best]

    def may_stop(self, token: int) -> bool:
        """Whether a token can bring a full stop: its text has one, or is a part of a character."""
        if token not in self._stops:
            text = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
            self._stops[token] = any(mark in text for mark in (".", "。", "\ufffd"))
        return self._stops[token]

    def render(self, messages: Sequence[Message], images: int, *, generation: bool = True) -> str:
        """As `mmpref.vlm.prompter.Prompter.render`."""
        return self.prompter.render(messages, images, generation=generation)

    def render_answer(self, messages: Sequence[Message], images: int, answer: str) -> str:
        """What follows the generation prompt when the answer is written: the answer, EOS, what the format adds.

        Raises:
            ModelError: the chat template's generation prompt is no prefix of the whole conversation.
        """
        prompt = self.render(messages, images)
        whole = self.render((*messages, Message("assistant", answer)), images, generation=False)
        if not whole.startswith(prompt):
            raise ModelError(f"The chat template of {self.ref} does not begin an answer with its generation prompt.",
                             "Such a template cannot be trained or continued; fix chat_template.jinja.")  # fmt: skip
        return whole[len(prompt) :]

    def generate(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        *,
        batch_size: int = 16,
        progress: Callable[[int], None] | None = None,
        hide_images: bool = False,
    ) -> list[str]:
        """Answer every request, order kept; answers do not depend on the batch size. See `mmpref.vlm.asked.Asked`."""
        from mmpref.vlm.asked import Asked

        answers: list[str] = []
        for start in range(0, len(requests), batch_size):
            asked = Asked(self, requests[start : start + batch_size])
            answers += asked.answers(decoding, hide_images=hide_images, width=batch_size, progress=progress)
        return answers

    @contextlib.contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The base model: the same weights with the adapter (and its copy of the projector) switched off."""
        if self.ref.adapter is None:
            yield
        else:
            with self.model.disable_adapter():
                yield


def identify(ref: ModelRef, trust_remote_code: bool = False) -> tuple[Family, str | None]:
    """The family of a model, and the commit of its revision (None for a local folder), without loading weights.

    Raises:
        ModelError: as `Policy.load`.
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    with _load_errors(str(ref)):
        commit = commit_of(ref.model, ref.revision)
        config = AutoConfig.from_pretrained(
            resolve_path(ref.model), revision=commit or ref.revision, trust_remote_code=trust_remote_code
        )
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelError(f"{ref} is a {config.model_type!r} model: it takes no images.",
                         "mmpref needs a vision-language model (image-text-to-text).")  # fmt: skip
    return find_family(config.model_type, str(ref)), commit or ref.revision


@contextlib.contextmanager
def _load_errors(what: str) -> Iterator[None]:
    try:
        yield
    except MmprefError:
        raise
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        hint = "Check the name, and that the Hub can be reached; a local folder needs config.json."
        raise ModelError(f"Cannot load the model {what}: {reason[:400]}", hint) from error


def _eos_ids(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ids, tokenizer.eos_token_id) if token is not None}


def _set_prompt_format(model: Any, processor: Any, family: Family, ref: ModelRef) -> None:
    from mmpref.vlm.prompts import set_prompt_format

    if getattr(processor, "tokenizer", None) is None:
        raise ModelError(f"{ref} has a processor without a tokenizer.", "Save its processor with it.")
    set_prompt_format(processor, _eos_ids(model, processor.tokenizer), family.vicuna_prompt, str(ref))


def load_adapter(model: Any, ref: ModelRef) -> tuple[Any, str | None]:
    """Put the adapter on the model; the loaded model and the adapter's commit (None for a local folder).

    Raises:
        ModelError: no such adapter, trained on another revision of the base, or without effect on this model.
    """
    from huggingface_hub import hf_hub_download
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    from mmpref.vlm.value import HEAD

    assert ref.adapter is not None
    with _load_errors(f"adapter {ref.adapter}"):
        if Path(ref.adapter).is_dir():
            config_path, commit = Path(ref.adapter) / "adapter_config.json", None
        else:
            config_path = Path(hf_hub_download(ref.adapter, "adapter_config.json", revision=ref.adapter_revision))
            commit = config_path.parent.name
        config = json.loads(read_text(config_path))
    if HEAD in (config.get("modules_to_save") or ()) and not hasattr(model, HEAD):
        raise ModelError(f"The adapter {ref.adapter} is a reward model: it gives values, and writes no answers.",
                         "Evaluate it with --benchmark reward-model.")  # fmt: skip
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    same = base in (ref.model, resolve_path(ref.model))
    if base and not same:
        talk.warning("Warning: the adapter %s was trained on %s, not on %s.", ref.adapter, base, ref.model)
    if same and revision and ref.revision and revision != ref.revision:
        raise ModelError(f"The adapter {ref.adapter} was trained on {base} at {revision}, not at {ref.revision}.",
                         f"Use --revision {revision}.")  # fmt: skip
    with _load_errors(f"adapter {ref.adapter}"):
        adapted = PeftModel.from_pretrained(model, ref.adapter, revision=commit)
    layers = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
    if not any(weight.weight.any() for layer in layers for weight in layer.lora_B.values()):
        raise ModelError(f"The adapter {ref.adapter} changes nothing in {ref.model}: "
                         f"{len(layers)} adapted layers, all of them zero.")  # fmt: skip
    return adapted, commit
