"""Making a method's trainer: where its pairs come from, what is shared, what is cached."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.align.checkpoints import checkpoints_folder
from mmpref.align.method import ConfiguredMethod, Parts
from mmpref.align.recipe import LoraSettings
from mmpref.distributed import is_model_sharded, num_processes, process_index
from mmpref.errors import ModelError, UsageError
from mmpref.log import logger

if TYPE_CHECKING:
    from mmpref.align.feature_cache import FeatureCache
    from mmpref.align.pair_source import PairSource
    from mmpref.align.preference_data import Pairs
    from mmpref.align.trainer_mixin import ResumableTrainerMixin
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.shared_prefix_forward import SharedForward


@dataclass(frozen=True)
class TrainerFactory:
    """What a trainer is made of.

    Args:
        options: of TRL's configuration.
        scratch: a folder that lasts as long as the run.
        projector_learning_rate: for the projector's parameters.
        annotator: who ranks answers, for methods that ask.
        share_prompt: run image and prompt once for both answers, where the architecture allows it.
        feature_cache_gb: room on disk, in units of 10^9 bytes, for image features.
        image_root: where the images of data lie, beside their own folders.
    """

    configured: ConfiguredMethod
    options: Mapping[str, Any]
    policy: Policy
    pairs: Pairs
    scratch: Path
    seed: int
    lora: LoraSettings
    train_projector: bool
    projector_learning_rate: float
    annotator: str | None
    share_prompt: bool
    feature_cache_gb: float
    image_root: tuple[str, ...]

    def make(self) -> ResumableTrainerMixin:
        """The method's trainer on these pairs.

        Raises:
            UsageError: settings that TRL refuses.
            ModelError: a tokenizer without a token to pad with.
        """
        from mmpref.align import trl_options
        from mmpref.align.adapter import lora_config

        method = self.configured.method
        config = trl_options.config(self.options, checkpoints_folder(self.scratch), method.config())
        _prepare_padding(self.policy, self.options.get("pad_token"))
        peft_config = partial(lora_config, self.policy, self.lora, self.train_projector)
        shared = None if method.build else self._shared_forward()
        try:
            if method.build is None:
                return self._preference_trainer(config, peft_config(), shared)
            parts = Parts(
                self.configured.settings,
                config,
                self.policy,
                self.pairs,
                peft_config,
                self.projector_learning_rate,
                self._shared_forward,
                self.scratch,
                self.image_root,
            )
            trainer: ResumableTrainerMixin = method.build(parts)
            return trainer
        except (ValueError, NotImplementedError) as error:
            if not _raised_by_trl(error):
                raise
            raise UsageError(f"TRL refuses these settings: {' '.join(str(error).split())}") from error

    def _preference_trainer(self, config: Any, peft_config: Any, shared: SharedForward | None) -> ResumableTrainerMixin:
        from mmpref.align.collator import PreferenceCollator
        from mmpref.align.preference_data import with_row_numbers
        from mmpref.align.reference_cache import ReferenceLogProbCache
        from mmpref.align.trainer import PreferenceTrainer

        method, settings, weights = self.configured.method, self.configured.settings, self.configured.weights
        reference = None
        if not method.samples_answers:  # What is sampled is new at every step, and so is what the reference says of it.
            path = self.scratch / f"reference-{process_index()}.f32"  # each process keeps those of its own rows
            reference = ReferenceLogProbCache(path, len(self.pairs.dataset), len(weights), is_model_sharded())
        return PreferenceTrainer(
            model=self.policy.model,
            args=config,
            train_dataset=with_row_numbers(self.pairs.dataset),
            data_collator=PreferenceCollator(self.policy.processor),
            processing_class=self.policy.processor,
            policy=self.policy,
            peft_config=peft_config,
            projector_learning_rate=self.projector_learning_rate,
            shared=shared,
            features=self._feature_cache(config, shared),
            reference=reference,
            weights=weights,
            terms=method.terms(settings) if method.terms else None,
            pairwise=method.pairwise(settings),
            source=self._pair_source(),
        )

    def _pair_source(self) -> PairSource | None:
        """Where the method's pairs come from, if not from the data."""
        from mmpref.align.pair_source import SourceContext
        from mmpref.judges.resolve import open_annotator
        from mmpref.types import ImageData

        method, settings = self.configured.method, self.configured.settings
        if method.source is None:
            return None
        encoded = self.pairs.dataset.with_format(None)

        def images(row: int) -> tuple[ImageData, ...]:
            return tuple(ImageData(content, f"image of row {row}") for content in encoded[row]["images"])

        annotator = None
        if self.annotator:
            instruction = method.annotator_instruction(settings)
            annotator = open_annotator(self.annotator, instruction=instruction, policy=lambda: self.policy)
        return method.source(SourceContext(self.policy, self.seed, images, annotator), settings)

    def _shared_forward(self) -> SharedForward | None:
        """The forward that runs image and prompt once for both answers, if this model allows it."""
        from mmpref.vlm.shared_prefix_forward import SharedForward

        if not self.share_prompt:
            return None
        shared = SharedForward(self.policy)
        if reason := shared.refusal(self._first_batch()):
            logger.warning(
                "Image and prompt go through the model once for each answer, at some twice the cost: %s.", reason
            )
            return None
        return shared

    def _feature_cache(self, config: Any, shared: SharedForward | None) -> FeatureCache | None:
        """Where the vision tower's features are kept, if rows come more than once and there is room for them."""
        from mmpref.align.feature_cache import GIGABYTE, FeatureCache, fits_cache

        rows = len(self.pairs.dataset)
        step = config.per_device_train_batch_size * config.gradient_accumulation_steps * num_processes()
        trained_rows = config.max_steps * step if config.max_steps > 0 else config.num_train_epochs * rows
        if shared is None or not shared.has_features or not self.feature_cache_gb or trained_rows <= rows:
            return None
        if is_model_sharded():  # The tower is asked by all processes at once, and each would know other rows.
            return None
        path, budget = self.scratch / f"features-{process_index()}.bin", self.feature_cache_gb * GIGABYTE
        budget /= num_processes()  # In the course of epochs every process meets all rows.
        if not FeatureCache.exists(path) and not fits_cache(
            shared.features(self._first_batch()), rows, budget, self.scratch
        ):
            return None
        return FeatureCache(path, budget)

    def _first_batch(self) -> dict[str, Any]:
        """A batch of the first row."""
        from mmpref.align.collator import PreferenceCollator
        from mmpref.tables.conversations import SECOND

        row = {name: value for name, value in self.pairs.dataset[0].items() if name != SECOND}
        return PreferenceCollator(self.policy.processor)([row])


def _prepare_padding(policy: Policy, pad_token: str | None) -> None:
    """The tokenizer as TRL's trainers prepare it; here batches are made before there is a trainer.

    Args:
        pad_token: the one that the recipe names.
    """
    tokenizer = policy.tokenizer
    token = pad_token or tokenizer.pad_token or tokenizer.eos_token
    if token is None:
        raise ModelError(
            f"The tokenizer of {policy.ref} has neither a padding nor an end-of-sequence token.",
            "Name one of its tokens: --set trainer.pad_token=TOKEN",
        )
    if token not in tokenizer.get_vocab():
        raise UsageError(
            f"trainer.pad_token is {token!r}, which {policy.ref} does not know.", "Name one of its tokens."
        )
    tokenizer.pad_token = token


def _raised_by_trl(error: Exception) -> bool:
    """Whether TRL raised it, or what TRL called, and not our code behind TRL."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours_or_trls = [name for name in (module.partition(".")[0] for module in modules) if name in ("mmpref", "trl")]
    return ours_or_trls[-1:] == ["trl"]
