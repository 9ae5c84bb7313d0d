"""A policy: a loaded base model, with or without an adapter, its processor, its token ids, and its prompt format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mmpref.types import Message, ModelRef
from mmpref.vlm.answer_tokens import WrittenAnswer
from mmpref.vlm.families import Family
from mmpref.vlm.logit_scaling import LogitScaling, find_scaling
from mmpref.vlm.preprocess import PromptPreprocessor
from mmpref.vlm.quantization import Placement
from mmpref.vlm.special_tokens import special_tokens_of

if TYPE_CHECKING:
    import torch


class Policy:
    """A loaded vision-language model. Make one with `mmpref.vlm.load.load_policy`.

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
        pool_tokens: whose keys and values a pool may hold (`mmpref.vlm.pool_memory`); None goes by the pool's width.
        verification: of a family that nobody has tried, what was measured (`mmpref.vlm.verify`), else None.
        steps: how its pools decode a step (`mmpref.vlm.static_step`).
        attn: which kernel attends to images, prompts and what is written behind them (`mmpref.vlm.kernels`).
        trains_tower: whether training changes the vision tower: nothing that it made of an image is kept then.
    """

    def __init__(
        self, model: Any, processor: Any, family: Family, ref: ModelRef, placement: Placement | None = None
    ) -> None:
        self.model = model
        self.base_model: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.processor = processor
        self.prompter = PromptPreprocessor(processor)
        self.tokenizer: Any = processor.tokenizer
        self.family = family
        self.ref = ref
        config = self.base_model.config
        image_token = getattr(config, "image_token_id", None)
        self.image_token_id: int = config.image_token_index if image_token is None else image_token
        self.eos_ids = eos_ids_of(self.base_model, self.tokenizer)
        suppressed = _suppressed_ids(self.base_model.generation_config, self.eos_ids)
        media = [getattr(config, f"{kind}_token_id", None) for kind in ("video", "audio")]
        self.suppressed_ids = {self.image_token_id, *suppressed, *(token for token in media if token is not None)}
        self.placement = placement or Placement(str(self.device))
        self.verification: dict[str, float] | None = None
        self.pool_tokens: int | None = None
        self.mended: dict[str, Any] = {}
        self.attn = "auto"
        self.trains_tower = False
        self.steps = "auto"
        self.replaced: Sequence[tuple[torch.nn.Parameter, torch.Tensor]] = ()

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
        """Logits [..., V] of last hidden last [..., H], scaled as the model does after its output layer."""
        logits: torch.Tensor = self.base_model.get_output_embeddings()(hidden)
        return self.logit_scaling(logits)

    @cached_property
    def logit_scaling(self) -> LogitScaling:
        """What the model does to logits behind its output layer.

        Raises:
            ModelError: nothing that mmpref knows.
        """
        ids = sorted({*range(2, 40)} - self.suppressed_ids - self.eos_ids)[:8]
        return find_scaling(self.base_model, ids, str(self.ref))

    @property
    def markup_tokens(self) -> frozenset[str]:
        """Texts that no prompt or answer may hold, as they would be read as markup: the image token, and the
        tokenizer's special tokens."""
        image_token = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
        return frozenset(filter(None, (image_token, *special_tokens_of(self.tokenizer))))

    def render(self, messages: Sequence[Message], images: int, *, generation: bool = True) -> str:
        """As `mmpref.vlm.preprocess.PromptPreprocessor.render`."""
        return self.prompter.render(messages, images, generation=generation)

    def render_answer(self, messages: Sequence[Message], images: int, answer: str) -> str:
        """As `mmpref.vlm.preprocess.PromptPreprocessor.render_answer`."""
        return self.prompter.render_answer(messages, images, answer)

    def written_answer(self, messages: Sequence[Message], images: int, answer: str) -> WrittenAnswer:
        """As `mmpref.vlm.preprocess.PromptPreprocessor.written_answer`."""
        return self.prompter.written_answer(messages, images, answer)

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


def eos_ids_of(model: Any, tokenizer: Any) -> set[int]:
    """Token ids that end an answer: those of the model's ``generation_config``, and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ids, tokenizer.eos_token_id) if token is not None}


def _suppressed_ids(own: Any, eos_ids: set[int]) -> set[int]:
    """Tokens that the model's ``generation_config`` rules out, as `generate` heeds it: a bad word never is an EOS."""
    bad = {ids[0] for ids in own.bad_words_ids or [] if len(ids) == 1}
    return {*(own.suppress_tokens or []), *(bad - eos_ids)}
