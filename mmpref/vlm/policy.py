"""A policy: base model at a revision, with or without an adapter at a revision, ready to render, embed and answer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mmpref.errors import InputError, ModelError
from mmpref.hub_ids import refuse_page
from mmpref.log import logger
from mmpref.registry import resolve_path
from mmpref.types import Message, ModelRef
from mmpref.vlm.adapters import base_of, load_adapter
from mmpref.vlm.decoding import unheeded
from mmpref.vlm.families import DECODERS, Family, find_family
from mmpref.vlm.load_errors import load_errors
from mmpref.vlm.preprocess import Prompter
from mmpref.vlm.quantization import Placement
from mmpref.vlm.revisions import commit_of

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from mmpref.vlm.shared_prefix_pool import Decoding

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
        processor: its chat template writes the family's true format (`mmpref.vlm.chat_template`).
        ref: what was loaded, revisions resolved to commits where they come from the Hub.
        placement: how it was brought into memory.
        replaced: parameters of the base that an adapter's file wrote over, and what they were
            (`mmpref.vlm.adapters.Adapted`).
        mended: what was wrong in the processor, and is taken from the model (`mmpref.vlm.smoke_test`).
        proof: what the probe of a family that nobody has tried found (`mmpref.vlm.verify`), else None.
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
        suppressed = _never_written(self.base_model.generation_config, self.eos_ids)
        marks = [getattr(config, f"{kind}_token_id", None) for kind in ("video", "audio")]
        self.never_written = {self.image_token_id, *suppressed, *(mark for mark in marks if mark is not None)}
        self.placement = placement or Placement(str(self.device))
        self.proof: dict[str, float] | None = None
        self.mended: dict[str, Any] = {}
        self.replaced: Sequence[tuple[torch.nn.Parameter, torch.Tensor]] = ()

    @classmethod
    def load(
        cls,
        ref: ModelRef,
        *,
        dtype: str = "auto",
        device: str | None = None,
        quantization: str | None = None,
        device_map: str | None = None,
        trust_remote_code: bool = False,
    ) -> Policy:
        """Load a model, and its adapter if it names one.

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
        import torch
        from transformers import AutoProcessor

        from mmpref.vlm.smoke_test import changes_nothing, try_out

        family, revision = identify(ref, trust_remote_code)
        own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        device = device or (own if torch.cuda.is_available() else "cpu")
        if dtype == "auto" and device == "cpu":
            dtype = "float32"
        placement, resolved = Placement(device, quantization, device_map), replace(ref, revision=revision)
        with load_errors(f"model {ref}"):
            processor = AutoProcessor.from_pretrained(
                resolve_path(ref.model), revision=revision, trust_remote_code=trust_remote_code
            )
            model = placement.load(resolved, dtype, trust_remote_code)
        if getattr(model, "_hf_peft_config_loaded", False):
            _refuse_adapter(resolved)
        _set_prompt_format(model, processor, family, ref)
        if device == "cpu" and model.num_parameters() < _SMALL:
            torch.set_num_threads(1)  # for small models the hand-over between threads costs more than the work
        if ignored := unheeded(model.generation_config):
            logger.warning(
                "Warning: the generation_config of %s sets %s, which mmpref does not go by.",
                ref.model,
                ", ".join(ignored),
            )
        adapted = load_adapter(model, resolved) if ref.adapter is not None else None
        if adapted:
            resolved = replace(resolved, adapter_revision=adapted.commit or ref.adapter_revision)
        whole = placement.move(adapted.model if adapted else model)
        policy = cls(whole.eval(), processor, family, resolved, placement)
        policy.replaced = adapted.replaced if adapted else ()
        try_out(policy)
        if adapted and changes_nothing(policy):
            raise ModelError(
                f"The adapter {ref.adapter} changes nothing in {ref.model}: with and without it, the model makes the "
                "same of a picture, and of every token."
            )
        text = policy.base_model.config.get_text_config().model_type
        if not (family.tested and text in DECODERS):
            from mmpref.vlm.verify import probe

            logger.info(
                "Nobody has tried %r models with a %r decoder: comparing dropped with masked image tokens ...",
                family.model_type,
                text,
            )
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
            raise ModelError(
                f"{self.ref} changes its logits behind its output layer in an unknown way.",
                "Supported model types: mmpref list families.",
            )
        return ways[best]

    def render(self, messages: Sequence[Message], images: int, *, generation: bool = True) -> str:
        """As `mmpref.vlm.preprocess.Prompter.render`."""
        return self.prompter.render(messages, images, generation=generation)

    def render_answer(self, messages: Sequence[Message], images: int, answer: str) -> str:
        """What follows the generation prompt when the answer is written: the answer, EOS, what the format adds.

        Raises:
            ModelError: the chat template's generation prompt is no prefix of the whole conversation.
        """
        prompt = self.render(messages, images)
        whole = self.render((*messages, Message("assistant", answer)), images, generation=False)
        if not whole.startswith(prompt):
            raise ModelError(
                f"The chat template of {self.ref} does not begin an answer with its generation prompt.",
                "Such a template cannot be trained or continued; fix chat_template.jinja.",
            )
        return whole[len(prompt) :]

    def answer_in_format(self, messages: Sequence[Message], images: int, answer: str) -> tuple[str, int]:
        """The text of `render_answer`, and where the answer begins in it.

        Raises:
            InputError: the chat template writes another answer; some leave out what stands before ``</think>``.
        """
        text = self.render_answer(messages, images, answer)
        begin = text.find(answer)
        if begin < 0:
            raise InputError(
                f"The chat template of {self.ref} changes the answer that begins with {answer[:40]!r}.",
                "What the template leaves out must not stand in the data.",
            )
        return text, begin

    def generate(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        *,
        batch_size: int = 16,
        progress: Callable[[int], None] | None = None,
        hide_images: bool = False,
    ) -> list[str]:
        """Answer every request, order kept; answers do not depend on the batch size.
        See `mmpref.vlm.generate.Asked`."""
        from mmpref.vlm.generate import Asked

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
            return
        tuned = [parameter.data for parameter, _ in self.replaced]
        with self.model.disable_adapter():
            for parameter, own in self.replaced:
                parameter.data = own.to(parameter)
            try:
                yield
            finally:
                for (parameter, _), weights in zip(self.replaced, tuned, strict=True):
                    parameter.data = weights


def identify(ref: ModelRef, trust_remote_code: bool = False) -> tuple[Family, str | None]:
    """The family of a model, and the commit of its revision (None for a local folder), without loading weights.

    Raises:
        ModelError: as `Policy.load`.
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    refuse_page(ref.model)
    with load_errors(f"model {ref}"):
        try:
            commit = commit_of(ref.model, ref.revision)
            config = AutoConfig.from_pretrained(
                resolve_path(ref.model), revision=commit or ref.revision, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError):
            _refuse_adapter(ref)
            raise
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelError(
            f"{ref} is a {config.model_type!r} model: it takes no images.",
            "mmpref needs a vision-language model (image-text-to-text).",
        )
    return find_family(config.model_type, str(ref)), commit or ref.revision


def _refuse_adapter(ref: ModelRef) -> None:
    """Tell an adapter from a model. Where its configuration stands beside a model's, transformers loads the base that
    it names with the adapter in it, and leaves the model's own weights out."""
    base = base_of(ref.model, ref.revision)
    if base is not None:
        raise ModelError(
            f"{ref.model} is an adapter, not a model.", f"Use --model {base or 'BASE'} --adapter {ref.model}."
        )


def _eos_ids(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ids, tokenizer.eos_token_id) if token is not None}


def _never_written(own: Any, eos_ids: set[int]) -> set[int]:
    """Tokens that the model's ``generation_config`` rules out, as `generate` heeds it: a bad word never is an EOS."""
    bad = {ids[0] for ids in own.bad_words_ids or [] if len(ids) == 1}
    return {*(own.suppress_tokens or []), *(bad - eos_ids)}


def _set_prompt_format(model: Any, processor: Any, family: Family, ref: ModelRef) -> None:
    from mmpref.vlm.chat_template import set_prompt_format

    if getattr(processor, "tokenizer", None) is None:
        raise ModelError(f"{ref} has a processor without a tokenizer.", "Save its processor with it.")
    set_prompt_format(processor, _eos_ids(model, processor.tokenizer), family.vicuna_prompt, str(ref))
