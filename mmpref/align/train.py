"""Training: preference rows -> an adapter that plain PEFT loads, or a whole model; its log, its plot, its manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.align.checkpoints import (
    checkpoints_folder,
    complete_checkpoints,
    keep_adapters,
    refuse_other_processes,
    write_errors,
)
from mmpref.align.finish import Trained, finish
from mmpref.align.fitted import ASKED, BEGAN, EMBEDDERS, SCRATCH, Fitted, facts_of
from mmpref.align.made_of import refuse_changed
from mmpref.align.method import METHODS, ConfiguredMethod, Method, TrainerParts
from mmpref.align.recipe import Evaluator, TrainRecipe, refuse
from mmpref.align.refusals import refuse_launch, refuse_machine
from mmpref.align.sharded import gather_trainable, is_sharded, load_unsharded
from mmpref.align.summary import log_pairs, parameter_counts, trained_text
from mmpref.align.watched import pin_watched, refuse_changed_watched
from mmpref.distributed import end_collective, is_model_sharded, main_process_first, process_index
from mmpref.errors import UsageError, memory_errors
from mmpref.images import open_looks
from mmpref.log import errors_only, logger
from mmpref.recipes import schema as recipes
from mmpref.run.directory import Run, WriteCard, default_path, open_run
from mmpref.run.files import open_weights
from mmpref.tables.columns import own_columns
from mmpref.tables.image_lookup import look_for_images
from mmpref.tables.named_images import refuse_changed_images
from mmpref.tables.open import open_table
from mmpref.types import ModelRef

if TYPE_CHECKING:
    import torch

    from mmpref.align.callbacks import OnProgress
    from mmpref.align.preference_data import Pairs
    from mmpref.align.trainer_mixin import ResumableTrainerMixin
    from mmpref.vlm.policy import Policy

_SMALLER = (
    "Free some, and the same command goes on from the last checkpoint; or choose another --output, and a smaller "
    "--batch-size=NUMBER."
)


def train(
    recipe: TrainRecipe,
    output: Path | None = None,
    *,
    evaluate: Evaluator | None = None,
    write_card: WriteCard | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Train the adapter of a recipe in a run directory, or finish what an earlier run left.

    Args:
        output: run directory; by default under ``runs/``.
        evaluate: scores the policy on the benchmarks that the recipe wants to have watched.
        write_card: writes ``README.md`` from the directory and the manifest's facts.
        on_progress: told how many steps are done, of how many.

    Returns:
        The manifest (``run.json``); nothing in a process of several that is not the first.

    Raises:
        UsageError: unknown method or setting, settings that contradict each other, or a kernel that cannot be had.
        InputError: preference data that cannot be read or has no usable row.
        ModelError: a model that cannot be loaded or trained.
        RunError: a directory that belongs to another recipe, data that changed under the run, no room on the disk, a
            loss, gradient or weight that is not finite, or a saved adapter that is not what was trained.
    """
    from mmpref.align import report_to, trl_options

    method = METHODS.get(recipe.method)
    _check(recipe, method, evaluate)
    recipe = spelled_out(recipe)
    settings = recipes.build(method.settings, recipe.loss, "loss")
    trl_options.check(recipe.trainer, method.trainer(settings), method.config())
    report_to.check(report_to.names_of(recipe.trainer.get("report_to")))
    configured = ConfiguredMethod(method, settings)
    with main_process_first():
        run = open_run(output or default_path("train", recipe.method, recipe), "train", recipe)
        finished = run.finished
    scratch = run.state / SCRATCH
    if process_index():
        with _quiet_libraries(), errors_only(), memory_errors("the training", _SMALLER):
            if not finished:
                _fit_and_save(run, recipe, configured, evaluate, None)
        return {}
    with (
        run.lock(),
        run.discard_on_failure(
            lambda: bool(complete_checkpoints(checkpoints_folder(scratch))),
            scratch_files=("log.jsonl", "evaluations.jsonl"),
        ),
    ):
        if finished:
            refuse_changed(run, recipe)
            refuse_changed_watched(run, evaluate)
            logger.info("%s is complete already.", run.path)
        else:
            with _quiet_libraries(), memory_errors("the training", _SMALLER):
                trained = _fit_and_save(run, recipe, configured, evaluate, on_progress)
                assert trained is not None
                finish(run, trained, write_card)
        shutil.rmtree(scratch, ignore_errors=True)
        return run.manifest()


def spelled_out(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe with every setting of its method: what a run directory belongs to.

    Raises:
        UsageError: unknown method or setting.
    """
    settings = recipes.build(METHODS.get(recipe.method).settings, recipe.loss, "loss")
    return dataclasses.replace(recipe, loss=recipes.as_plain(settings))


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Deprecations between TRL, PEFT and transformers are theirs to settle, not the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _check(recipe: TrainRecipe, method: Method, evaluate: Evaluator | None) -> None:
    refuse(recipe, method)
    if not recipe.dataset:
        raise UsageError("Training needs preference data.", "Name a data set with --dataset; it can be repeated.")
    if recipe.watch.benchmarks and evaluate is None:
        raise UsageError("Nobody was given who evaluates the benchmarks that are to be watched.")
    refuse_launch(recipe, method)


def _fit_and_save(
    run: Run,
    recipe: TrainRecipe,
    configured: ConfiguredMethod,
    evaluate: Evaluator | None,
    on_progress: OnProgress | None,
) -> Trained | None:
    """Train to the end from the last complete checkpoint, and save the adapter; None in a process that does not
    write."""
    refuse_machine(recipe)
    refuse_other_processes(checkpoints_folder(run.state / SCRATCH))
    policy, pairs, began = _load(run, recipe, configured)
    fitted = _fit(run, recipe, configured, policy, pairs, began, evaluate, on_progress)
    trainer = fitted.trainer
    trainer.refuse_diverged()
    verifier = partial(trainer.adapter_verifier, run.path, policy, pairs.dataset[0], recipe.trust_remote_code)
    weights, verify = None, None
    if is_sharded(trainer.model):  # all processes have a part in what is saved, and in a forward pass
        weights, verify = gather_trainable(trainer.model), verifier()
    end_collective()
    if process_index():
        return None
    if is_model_sharded():
        load_unsharded()
    if fitted.evaluations:
        fitted.evaluations.restore_best()
    _save(run, recipe, policy, trainer, weights)
    facts = {**({"began": began} if began else {}), **facts_of(run, recipe, policy, pairs, fitted, evaluate)}
    return Trained(policy.ref, pairs, facts, verify or verifier())


def _fit(
    run: Run,
    recipe: TrainRecipe,
    configured: ConfiguredMethod,
    policy: Policy,
    pairs: Pairs,
    began: Mapping[str, Any] | None,
    evaluate: Evaluator | None,
    on_progress: OnProgress | None,
) -> Fitted:
    """Train to the end from the last complete checkpoint.

    Args:
        began: facts of the adapter that training goes on from.
    """
    from mmpref.align import adapter, report_to, trackers
    from mmpref.align.callbacks import ScheduleCallback, refuse_no_batch
    from mmpref.align.fit import fit
    from mmpref.align.preflight import Preflight, measure_lengths
    from mmpref.judges.named_files import pin_named_files
    from mmpref.judges.pinned import pin_annotators
    from mmpref.sampling.embedders import pin_embedders

    scratch = run.state / SCRATCH
    with main_process_first():
        pin_named_files(run, configured.settings, recipe.annotator)
        pin_watched(run, evaluate)
        settings = pin_embedders(run, EMBEDDERS, configured.settings)
        settings, annotator = pin_annotators(run, ASKED, settings, recipe.annotator)
    log_pairs(pairs)
    watching = report_to.names_of(recipe.trainer.get("report_to"))
    with trackers.in_run(watching, run.path):
        trainer, options = _make_trainer(
            dataclasses.replace(recipe, annotator=annotator),
            dataclasses.replace(configured, settings=settings),
            policy,
            pairs,
            scratch,
            run.path.name if watching else "",
            began,
        )
        refuse_no_batch(trainer.args, len(pairs.dataset))
        modules = {} if recipe.in_full else adapter.adapted_modules(trainer.model, policy)
        parameters = parameter_counts(trainer)
        logger.info("Training %s.", trained_text(modules, parameters))
        lengths = measure_lengths(trainer, policy, pairs)
        trainer.add_callback(Preflight(trainer, pairs, lengths, recipe.preflight))
        rate = recipe.projector_learning_rate if recipe.train_projector else None
        trainer.add_callback(ScheduleCallback(rate, len(pairs.dataset)))
        if watching:
            trainer.add_callback(trackers.LinksCallback(watching, scratch))
        evaluations = fit(trainer, run.path, scratch, recipe.watch, evaluate, on_progress)
    return Fitted(trainer, options, modules, parameters, lengths, evaluations, watching)


def _save(
    run: Run,
    recipe: TrainRecipe,
    policy: Policy,
    trainer: ResumableTrainerMixin,
    weights: dict[str, torch.Tensor] | None,
) -> None:
    """Save what was trained.

    Args:
        weights: of a model that is sharded.
    """
    from mmpref.align import adapter

    model = trainer.trained_model()
    with write_errors(f"the {trainer.product} in {run.path}"):
        adapter.save(model, policy.processor, policy.ref, run.path, weights)
        if recipe.keep_checkpoints:
            keep_adapters(checkpoints_folder(run.state / SCRATCH), run.path)
        open_weights(run.path)


def _load(
    run: Run, recipe: TrainRecipe, configured: ConfiguredMethod
) -> tuple[Policy, Pairs, Mapping[str, Any] | None]:
    """The model, the usable rows, and what is known of the adapter that training goes on from (None where it begins
    with a new one), at the commits that the run began with."""
    from mmpref.align import trl_options
    from mmpref.align.begun import began_facts
    from mmpref.align.preference_data import checks_of, collect_pairs
    from mmpref.vlm.load import load_policy
    from mmpref.vlm.made_with import model_facts, refuse_other_model

    pinned = run.pinned(BEGAN)
    began = began_facts(run.path, recipe, pinned) if recipe.adapter else None
    revisions = pinned.get("datasets") or [None] * len(recipe.dataset)
    tables = [
        open_table(spec, recipe.split, revision=revision)
        for spec, revision in zip(recipe.dataset, revisions, strict=True)
    ]
    tables = own_columns(tables, recipe.columns, recipe.default_prompt)
    answers = configured.method.answers(configured.settings)
    for table in tables:
        look_for_images(table, recipe.image_root, recipe.limit, needs=answers)
    policy = load_policy(
        ModelRef(recipe.model, pinned.get("model") or recipe.revision),
        dtype="float32" if recipe.in_full else _model_dtype(recipe.dtype),
        quantization=recipe.quantization,
        device_map=recipe.device_map,
        trust_remote_code=recipe.trust_remote_code,
    )
    policy.attn = recipe.attn or policy.attn
    workers = trl_options.data_workers(recipe.trainer)
    with main_process_first(), contextlib.closing(open_looks(workers)) as looks:
        facts: dict[str, Any] = {"datasets": [table.revision for table in tables], "model": policy.ref.revision}
        if not process_index():  # the files are read once
            known_by = model_facts(recipe.model)
            refuse_other_model(run.path, recipe.model, pinned, known_by)
            facts |= known_by
        run.pin(BEGAN, {**facts, **({"adapter": began} if began else {})})
        pairs = collect_pairs(
            tables,
            run.state / SCRATCH,
            **checks_of(policy),
            image_root=recipe.image_root,
            limit=recipe.limit,
            second=configured.method.needs_second,
            needs=configured.method.needs(configured.settings),
            contexts="needed" if configured.method.needs_context else configured.method.takes_context,
            weights=configured.method.weights_read,
            needs_weights=configured.method.needs_weights(configured.settings),
            looks=looks,
        )
        if pinned and not process_index():
            places = [recipe.image_root or table.images for table in tables]
            refuse_changed_images(run.path, pairs.named, places)
    return policy, pairs, began


def _model_dtype(dtype: str) -> str:
    import torch

    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bfloat16" if dtype == "auto" and has_bf16 else dtype


def _make_trainer(
    recipe: TrainRecipe,
    configured: ConfiguredMethod,
    policy: Policy,
    pairs: Pairs,
    scratch: Path,
    tracked_as: str,
    began: Mapping[str, Any] | None = None,
) -> tuple[ResumableTrainerMixin, dict[str, Any]]:
    """The method's trainer, and the options of TRL's configuration that it has.

    Args:
        tracked_as: what trackers call the run, unless the recipe says; "" where there are none.
        began: facts of the adapter that training goes on from.
    """
    from mmpref.align import trl_options
    from mmpref.align.trackers import PROJECT
    from mmpref.align.trainer_factory import make_trainer, prepare_padding, shared_forward
    from mmpref.align.tuning import Tuning

    tuning = Tuning.of(recipe)
    # Weights in full are fp32, and compute in what an accelerator is fast in, as TRL has it.
    dtype = _model_dtype(recipe.dtype) if recipe.in_full and recipe.dtype == "auto" else str(policy.dtype)
    options = trl_options.resolve(
        recipe.trainer,
        configured.trainer_options,
        seed=recipe.seed,
        dtype=dtype.removeprefix("torch."),
        dropout=not recipe.in_full and recipe.lora.dropout > 0,
        unused=tuning.leaves_parameters_unused,
    )
    if tracked_as:
        options = {"run_name": tracked_as, "project": PROJECT, **options}
    config = trl_options.config(options, checkpoints_folder(scratch), configured.method.config())
    prepare_padding(policy, options.get("pad_token"))
    assert recipe.projector_learning_rate is not None
    parts = TrainerParts(
        configured.settings,
        config,
        policy,
        pairs,
        lora=tuning.prepare(policy),
        projector_learning_rate=recipe.projector_learning_rate,
        share=partial(shared_forward, policy, pairs) if recipe.share_prompt else lambda: None,
        scratch=scratch,
        image_root=recipe.image_root,
    )
    trainer = make_trainer(
        configured,
        parts,
        seed=recipe.seed,
        annotator=recipe.annotator,
        feature_cache_gb=recipe.feature_cache_gb,
        begin=(began["id"], began["revision"]) if began else None,
    )
    return trainer, options
