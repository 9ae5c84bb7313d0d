"""Making a method's trainer: where its pairs come from, what is shared, what is kept of the reference."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.align.checkpoints import checkpoints_in
from mmpref.align.method import Parts, Way
from mmpref.distributed import is_model_sharded, num_processes, process_index
from mmpref.errors import ModelError, UsageError
from mmpref.log import logger

if TYPE_CHECKING:
    from mmpref.align.feature_cache import KeptFeatures
    from mmpref.align.pair_source import PairSource
    from mmpref.align.preference_data import Pairs
    from mmpref.align.recipe import TrainRecipe
    from mmpref.align.trainer_mixin import Running
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.shared_prefix_forward import SharedForward


def trainer_of(
    recipe: TrainRecipe, way: Way, used: Mapping[str, Any], policy: Policy, pairs: Pairs, state: Path
) -> Running:
    """The method's trainer on these pairs.

    Args:
        used: options of TRL's configuration.
        state: the run's state folder.

    Raises:
        UsageError: settings that TRL refuses, or a method that cannot be launched in this way.
        ModelError: a tokenizer without a token to pad with.
    """
    from mmpref.align import trl_options
    from mmpref.align.adapter import lora_config
    from mmpref.align.collator import PreferenceCollator
    from mmpref.align.preference_data import numbered
    from mmpref.align.reference_cache import ReferenceLogProbs
    from mmpref.align.trainer import PreferenceTrainer

    if is_model_sharded():
        _refuse_what_needs_all(recipe, way)
    config = trl_options.config(used, checkpoints_in(state), way.method.config())
    _prepare_padding(policy, getattr(config, "pad_token", None))
    lora = partial(lora_config, policy, recipe.lora, recipe.train_projector)
    share = partial(_shared, recipe, policy, pairs)
    rate = recipe.projector_learning_rate
    assert rate is not None
    shared = None if way.method.build else share()
    try:
        if way.method.build:
            parts = Parts(way.settings, config, policy, pairs, lora, rate, share, state, recipe.image_root)
            made: Running = way.method.build(parts)
            return made
        return PreferenceTrainer(
            model=policy.model,
            args=config,
            train_dataset=numbered(pairs.dataset),
            data_collator=PreferenceCollator(policy.processor),
            processing_class=policy.processor,
            writer=policy,
            peft_config=lora(),
            projector_learning_rate=rate,
            shared=shared,
            features=_features(recipe, config, pairs, shared, policy, state),
            # What a source draws is new at every step, and so is what the reference says of it.
            reference=None
            if way.method.source and not way.method.keeps_answers
            # Each process of several keeps those of its own rows.
            else ReferenceLogProbs(
                state / f"reference-{process_index()}.f32", len(pairs.dataset), len(way.weights), is_model_sharded()
            ),
            weights=way.weights,
            terms=way.method.terms(way.settings) if way.method.terms else None,
            pairwise=way.method.pairwise(way.settings),
            source=_source(recipe, way, policy, pairs),
        )
    except (ValueError, NotImplementedError) as error:
        if not _is_trls(error):
            raise
        raise UsageError(f"TRL refuses these settings: {' '.join(str(error).split())}") from error


def _prepare_padding(policy: Policy, asked: str | None) -> None:
    """The tokenizer as TRL's trainers prepare it; here batches are made before there is a trainer.

    Args:
        asked: the padding token that the recipe names.
    """
    tokenizer = policy.tokenizer
    token = asked or tokenizer.pad_token or tokenizer.eos_token
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


def _is_trls(error: Exception) -> bool:
    """Whether TRL raised it, or what TRL called, and not our code behind TRL."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours_or_trls = [name for name in (module.partition(".")[0] for module in modules) if name in ("mmpref", "trl")]
    return ours_or_trls[-1:] == ["trl"]


def _refuse_what_needs_all(recipe: TrainRecipe, way: Way) -> None:
    if way.method.source and not way.method.keeps_answers:
        asking = f"The method {recipe.method} writes answers with"
    elif way.method.build:
        asking = f"The method {recipe.method} asks"
    elif recipe.watch.benchmarks:
        asking = "Benchmarks while training ask"
    else:
        return
    raise UsageError(f"{asking} the whole model, which is sharded here.", "Launch it with the configuration ddp.")


def _source(recipe: TrainRecipe, way: Way, policy: Policy, pairs: Pairs) -> PairSource | None:
    """Where the method's pairs come from, if not from the data."""
    from mmpref.align.pair_source import SourceContext
    from mmpref.judges.resolve import open_annotator
    from mmpref.types import ImageData

    if way.method.source is None:
        return None
    encoded = pairs.dataset.with_format(None)

    def images(row: int) -> tuple[ImageData, ...]:
        return tuple(ImageData(content, f"image of row {row}") for content in encoded[row]["images"])

    annotator = None
    if recipe.annotator:
        instruction = getattr(way.settings, "instruction", None)
        annotator = open_annotator(recipe.annotator, instruction=instruction, policy=lambda: policy)
    return way.method.source(SourceContext(policy, recipe.seed, images, annotator), way.settings)


def _shared(recipe: TrainRecipe, policy: Policy, pairs: Pairs) -> SharedForward | None:
    """The forward that runs image and prompt once for both answers, if this model allows it."""
    from mmpref.vlm.shared_prefix_forward import SharedForward

    if not recipe.share_prompt:
        return None
    shared = SharedForward(policy)
    if reason := shared.refusal(_first(policy, pairs)):
        logger.warning(
            "Image and prompt go through the model once for each answer, at some twice the cost: %s.", reason
        )
        return None
    return shared


def _features(
    recipe: TrainRecipe, config: Any, pairs: Pairs, shared: SharedForward | None, policy: Policy, state: Path
) -> KeptFeatures | None:
    """Where the vision tower's features are kept, if rows are met more than once and there is room for them."""
    from mmpref.align.feature_cache import GIGABYTE, KeptFeatures, worth_keeping

    rows = len(pairs.dataset)
    step = config.per_device_train_batch_size * config.gradient_accumulation_steps * num_processes()
    met = config.max_steps * step if config.max_steps > 0 else config.num_train_epochs * rows
    if shared is None or not shared.has_features or not recipe.feature_cache_gb or met <= rows:
        return None
    if is_model_sharded():  # The tower is asked by all processes at once, and each would know other rows.
        return None
    path, budget = state / f"features-{process_index()}.bin", recipe.feature_cache_gb * GIGABYTE / num_processes()
    # In the course of epochs every process meets all rows.
    if not KeptFeatures.begun(path) and not worth_keeping(shared.features(_first(policy, pairs)), rows, budget, state):
        return None
    return KeptFeatures(path, budget)


def _first(policy: Policy, pairs: Pairs) -> dict[str, Any]:
    """A batch of the first row."""
    from mmpref.align.collator import PreferenceCollator
    from mmpref.tables.conversations import SECOND

    row = {name: value for name, value in pairs.dataset[0].items() if name != SECOND}
    return PreferenceCollator(policy.processor)([row])
