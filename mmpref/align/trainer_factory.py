"""Making a method's trainer: where its pairs come from, what is shared, what is cached."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmpref.align.method import ConfiguredMethod, Method, TrainerParts
from mmpref.distributed import is_model_sharded, num_processes, process_index
from mmpref.errors import ModelError, UsageError, row_at
from mmpref.log import logger
from mmpref.tables.weights import NUMBERS

if TYPE_CHECKING:
    from mmpref.align.feature_cache import FeatureCache
    from mmpref.align.pair_source import PairSource
    from mmpref.align.preference_data import Pairs
    from mmpref.align.trainer import PreferenceTrainer
    from mmpref.align.trainer_mixin import ResumableTrainerMixin
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.shared_prefix_forward import SharedForward


def make_trainer(
    configured: ConfiguredMethod,
    parts: TrainerParts,
    *,
    seed: int,
    annotator: str | None,
    feature_cache_gb: float,
    begin: tuple[str, str | None] | None = None,
) -> ResumableTrainerMixin:
    """The method's trainer on these pairs.

    Args:
        annotator: who ranks answers, for methods that ask.
        feature_cache_gb: room on disk, in units of 10^9 bytes, for image features.
        begin: name and commit of the adapter that training goes on from; None begins with a new one.

    Raises:
        UsageError: settings that TRL refuses.
    """
    method = configured.method
    shared = None if method.build else parts.share()
    try:
        with _scaled_as_the_model(parts.policy):
            if method.build:
                trainer: ResumableTrainerMixin = method.build(parts)
                return trainer
            return _preference_trainer(configured, parts, shared, seed, annotator, feature_cache_gb, begin)
    except (ValueError, NotImplementedError) as error:
        if not _raised_by_trl(error):
            raise
        raise UsageError(f"TRL refuses these settings: {' '.join(str(error).split())}") from error


def _scaled_as_the_model(policy: Policy) -> contextlib.AbstractContextManager[None]:
    """Within it TRL reads out of the model's configuration what the model does to its logits."""
    from mmpref.vlm.logit_scaling import named_as, names_scaling

    model = policy.base_model
    return named_as(model, policy.logit_scaling) if names_scaling(model) else contextlib.nullcontext()


def _preference_trainer(
    configured: ConfiguredMethod,
    parts: TrainerParts,
    shared: SharedForward | None,
    seed: int,
    annotator: str | None,
    feature_cache_gb: float,
    begin: tuple[str, str | None] | None,
) -> PreferenceTrainer:
    from mmpref.align.collator import PreferenceCollator
    from mmpref.align.preference_data import with_row_numbers
    from mmpref.align.reference_cache import ReferenceLogProbCache
    from mmpref.align.trainer import PreferenceTrainer

    method, weights, policy = configured.method, configured.weights, parts.policy
    reference, reference_every = None, method.reference_every(configured.settings)
    # What is sampled is new at every step, and so is what the reference says of it, or one that moves.
    if not method.samples_answers and not reference_every and not method.by_token:
        path = parts.scratch / f"reference-{process_index()}.f32"  # each process keeps those of its own rows
        answers = len(weights) + method.mismatched
        reference = ReferenceLogProbCache(path, len(parts.pairs.dataset), answers, is_model_sharded())
    return PreferenceTrainer(
        model=policy.model,
        args=parts.config,
        train_dataset=with_row_numbers(
            parts.pairs.dataset, mismatched=method.mismatched, weights=_row_weights(configured, parts.pairs)
        ),
        data_collator=PreferenceCollator(policy.processor, ends=method.ends(configured.settings)),
        processing_class=policy.processor,
        policy=policy,
        peft_config=parts.lora(),
        projector_learning_rate=parts.projector_learning_rate,
        shared=shared,
        features=_feature_cache(parts, shared, feature_cache_gb),
        reference=reference,
        reference_every=reference_every,
        begin=begin,
        weights=weights,
        terms=method.terms(configured.settings) if method.terms else None,
        pairwise=method.pairwise(configured.settings),
        reward=method.reward(configured.settings),
        mismatched=method.mismatched,
        by_token=method.by_token,
        distributions=method.distributions,
        other_images=method.other_images,
        source=_pair_source(method, parts, seed, annotator),
    )


def _row_weights(configured: ConfiguredMethod, pairs: Pairs) -> Sequence[float] | None:
    """What the method makes of the rows' number, if it reads one."""
    import numpy as np

    number = next((column for column in configured.method.weights_read if column in NUMBERS), None)
    if number is None:
        return None
    values = pairs.dataset.data.column(number).to_numpy()
    weights: list[float] = np.asarray(configured.method.weigh(configured.settings, values), dtype=float).tolist()
    return weights


def _pair_source(method: Method, parts: TrainerParts, seed: int, annotator: str | None) -> PairSource | None:
    """Where the method's pairs come from, if not from the data."""
    from mmpref.align.pair_source import SourceContext, WritablePairs
    from mmpref.judges.resolve import open_annotator
    from mmpref.types import ImageData

    if method.source is None:
        return None
    encoded = parts.pairs.dataset.with_format(None)

    def images(row: int) -> tuple[ImageData, ...]:
        return tuple(ImageData(content, f"image of {row_at(row)}") for content in encoded[row]["images"])

    comparing = None
    if annotator:
        instruction = method.annotator_instruction(parts.settings)
        comparing = open_annotator(annotator, instruction=instruction, policy=lambda: parts.policy)
    source = method.source(SourceContext(parts.policy, seed, images, comparing, parts.pairs.dataset), parts.settings)
    return WritablePairs(source, parts.policy.prompter.refused, parts.pairs.where)


def shared_forward(policy: Policy, pairs: Pairs) -> SharedForward | None:
    """The forward that runs image and prompt once for both answers, if this model allows it."""
    from mmpref.vlm.shared_prefix_forward import SharedForward

    shared = SharedForward(policy)
    if reason := shared.refusal(_first_batch(policy, pairs)):
        logger.warning(
            "Image and prompt go through the model once for each answer, at some twice the cost: %s.", reason
        )
        return None
    for kernel, reason in shared.kernels.items():  # of one that nobody named there is nothing to do but to know it
        level = logging.DEBUG if policy.attn == "auto" else logging.INFO
        logger.log(level, "Answers attend by %s: %s.", kernel, reason)
    return shared


def _feature_cache(parts: TrainerParts, shared: SharedForward | None, gigabytes: float) -> FeatureCache | None:
    """Where the vision tower's features are kept, if rows come more than once and there is room for them."""
    from mmpref.align.feature_cache import GIGABYTE, FeatureCache, fits_cache

    config, rows = parts.config, len(parts.pairs.dataset)
    step = config.per_device_train_batch_size * config.gradient_accumulation_steps * num_processes()
    trained_rows = config.max_steps * step if config.max_steps > 0 else config.num_train_epochs * rows
    if shared is None or not shared.has_features or not gigabytes or trained_rows <= rows:
        return None
    if is_model_sharded():  # The tower is asked by all processes at once, and each would know other rows.
        return None
    path, budget = parts.scratch / f"features-{process_index()}.bin", gigabytes * GIGABYTE / num_processes()
    if not FeatureCache.exists(path):  # In the course of epochs every process meets all rows.
        features = shared.features(_first_batch(parts.policy, parts.pairs))
        if not fits_cache(features, rows, budget, parts.scratch):
            return None
    return FeatureCache(path, budget)


def _first_batch(policy: Policy, pairs: Pairs) -> dict[str, Any]:
    """A batch of the first row."""
    from mmpref.align.collator import PreferenceCollator
    from mmpref.tables.rows import REJECTED_POLICY

    row = {name: value for name, value in pairs.dataset[0].items() if name != REJECTED_POLICY}
    return PreferenceCollator(policy.processor)([row])


def prepare_padding(policy: Policy, pad_token: str | None) -> None:
    """Prepare the tokenizer as TRL's trainers do; here batches are made before there is a trainer.

    Args:
        pad_token: the one that the recipe names.

    Raises:
        UsageError: the tokenizer does not know it.
        ModelError: a tokenizer without a token to pad with.
    """
    tokenizer = policy.tokenizer
    token = pad_token or tokenizer.pad_token or tokenizer.eos_token
    if token is None:
        raise ModelError(
            f"The tokenizer of {policy.ref} has neither a padding nor an end-of-sequence token.",
            "Name one of its tokens: --set trainer.pad_token=TOKEN",
        )
    refuse_unknown_token(token, tokenizer, str(policy.ref))
    tokenizer.pad_token = token


def refuse_unknown_token(token: str, tokenizer: Any, model: str) -> None:
    """Refuse a token to pad with that a tokenizer does not have.

    Raises:
        UsageError: it is none of its tokens.
    """
    if token not in tokenizer.get_vocab():
        raise UsageError(f"trainer.pad_token is {token!r}, which {model} does not know.", "Name one of its tokens.")


def _raised_by_trl(error: Exception) -> bool:
    """Whether TRL raised it, or what TRL called, and not our code behind TRL."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours_or_trls = [name for name in (module.partition(".")[0] for module in modules) if name in ("mmpref", "trl")]
    return ours_or_trls[-1:] == ["trl"]
