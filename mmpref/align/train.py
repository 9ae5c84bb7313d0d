"""Training: preference rows -> an adapter that plain PEFT loads, its log, its plot, its manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.align.checkpoints import checkpoints_in
from mmpref.align.method import METHODS, Method, Way
from mmpref.align.recipe import TrainRecipe
from mmpref.align.sharded import gathered, is_spread, load_whole
from mmpref.align.summary import final_of, lengths, parameters, remarks_on
from mmpref.align.trainer_factory import trainer_of
from mmpref.align.watch_settings import BEST, Evaluator
from mmpref.distributed import end_collective, is_model_sharded, main_process_first, num_processes, process_index
from mmpref.errors import UsageError
from mmpref.log import logger
from mmpref.recipes import schema as recipes
from mmpref.run.directory import Run, default_path, open_run
from mmpref.run.files import JsonLines
from mmpref.tables.open import open_table
from mmpref.tables.table import Table
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.align.eval_callback import Watching
    from mmpref.align.preference_data import Pairs
    from mmpref.align.trainer_mixin import Running

WriteCard = Callable[[Path, dict[str, Any]], None]
OnProgress = Callable[[int, int], None]

BEGAN = "began"
"""Pinned: the commits of data and model that a restart must go on with."""


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
        UsageError: unknown method or setting, or settings that contradict each other.
        InputError: preference data that cannot be read or has no usable row.
        ModelError: a model that cannot be loaded or trained.
        RunError: a directory that belongs to another recipe, data that changed under the run, no room on the disk, a
            loss that is not finite, or a saved adapter that fails the probe.
    """
    from mmpref.align import trl_options

    method = METHODS.get(recipe.method)
    _check(recipe, method, evaluate)
    settings = recipes.build(method.settings, recipe.loss, "loss")
    trl_options.check(recipe.trainer, method.trainer(settings), method.config())
    recipe = dataclasses.replace(recipe, loss=recipes.as_plain(settings))
    with main_process_first():
        run = open_run(output or default_path("train", recipe.method, recipe), "train", recipe)
        finished = run.finished
    if process_index():
        logger.setLevel(logging.ERROR)
        if not finished:
            with _quietly():
                _fit(run, recipe, Way(method, settings), evaluate, None)
        return {}
    with run.lock(), run.forgotten_if_it_fails(lambda: _has_checkpoint(run), scraps=("log.jsonl", "evaluations.jsonl")):
        if finished:
            logger.info("%s is complete already.", run.path)
        else:
            with _quietly():
                _work(run, recipe, Way(method, settings), evaluate, write_card, on_progress)
        _drop_restart_state(run)
        return run.manifest()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Deprecations between TRL, PEFT and transformers are theirs to settle, not the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _check(recipe: TrainRecipe, method: Method, evaluate: Evaluator | None) -> None:
    if recipe.annotator and not method.needs_annotator:
        raise UsageError(f"The method {recipe.method!r} asks no annotator.", "Leave --annotator out.")
    if method.needs_annotator and not recipe.annotator:
        raise UsageError(f"The method {recipe.method!r} needs an annotator.", "Name a model with --annotator.")
    if not recipe.dataset:
        raise UsageError("Training needs preference data.", "Name a data set with --dataset; it can be repeated.")
    if recipe.watch.benchmarks and evaluate is None:
        raise UsageError("Nobody was given who evaluates the benchmarks that are to be watched.")
    if recipe.feature_cache_gb < 0:
        raise UsageError(f"feature_cache_gb is {recipe.feature_cache_gb:g}; it must be at least 0.")
    if recipe.limit is not None and recipe.limit < 1:
        raise UsageError(f"--limit is {recipe.limit}; it must be at least 1.")
    if recipe.quantization and is_model_sharded():
        raise UsageError("A quantized model cannot be sharded.", "Launch it with the configuration ddp.")
    if recipe.device_map and num_processes() > 1:
        raise UsageError(
            f"device_map={recipe.device_map} spreads the model over devices that the other processes use.",
            "Leave it out, or start one process.",
        )


def _work(
    run: Run,
    recipe: TrainRecipe,
    way: Way,
    evaluate: Evaluator | None,
    write_card: WriteCard | None,
    on_progress: OnProgress | None,
) -> None:
    from mmpref.align.plot import plot
    from mmpref.vlm.revisions import licence_of

    fitted = _fit(run, recipe, way, evaluate, on_progress)
    assert fitted is not None
    # The trained policy is out of memory by now: the probe loads the model a second time.
    proof = fitted.prove()
    rows = JsonLines(run.path / "log.jsonl").rows()
    plot(rows, run.path / "training.png")
    facts = {
        "model": {
            "id": recipe.model,
            "revision": fitted.ref.revision,
            "licence": licence_of(recipe.model, fitted.ref.revision),
        },
        "method": recipe.method,
        "datasets": fitted.pairs.sources,
        "counts": {
            "rows": len(fitted.pairs.dataset),
            "skipped": fitted.pairs.skipped,
            **({"changed": fitted.pairs.changed} if fitted.pairs.changed else {}),
        },
        **({"skipped_rows": fitted.pairs.skips} if fitted.pairs.skips else {}),
        "seeds": {"run": recipe.seed},
        **fitted.facts,
        "final": (final := final_of(_until(rows, fitted.facts.get("best")))),
        "remarks": remarks_on(final),
        "probe": proof,
    }
    if write_card:
        write_card(
            run.path, {"command": run.command, "recipe": dict(run.recipe), "recipe_hash": run.recipe_hash, **facts}
        )
    run.finish(facts)


def _until(rows: list[dict[str, Any]], best: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The log up to the step whose adapter is kept."""
    return [row for row in rows if not best or row["step"] <= best["step"]] or rows[:1]


@dataclass(frozen=True)
class _Fitted:
    """What is left of a training: its facts, and a proof that what was saved is what was trained."""

    ref: ModelRef
    pairs: Pairs
    facts: dict[str, Any]
    prove: Callable[[], dict[str, Any]]


def _fit(
    run: Run, recipe: TrainRecipe, way: Way, evaluate: Evaluator | None, on_progress: OnProgress | None
) -> _Fitted | None:
    """Train to the end from the last whole checkpoint, and save the adapter; None in a process that does not write."""
    import torch

    from mmpref.align import adapter, trl_options
    from mmpref.align.checkpoints import writing
    from mmpref.align.lengths import measured
    from mmpref.align.preference_data import collect
    from mmpref.align.preflight import Preflight
    from mmpref.sampling.settings import sampling_facts
    from mmpref.vlm.decoding import own_values
    from mmpref.vlm.load import load_policy
    from mmpref.vlm.quantization import arguments_of
    from mmpref.vlm.special_tokens import special_tokens_of

    tables, revision = _as_it_began(run, recipe)
    ref = ModelRef(recipe.model, revision)
    policy = load_policy(
        ref,
        dtype=_dtype(recipe.dtype),
        quantization=recipe.quantization,
        device_map=recipe.device_map,
        trust_remote_code=recipe.trust_remote_code,
    )
    image_token = policy.tokenizer.convert_ids_to_tokens(policy.image_token_id)
    with main_process_first():
        run.pin(BEGAN, {"datasets": [table.revision for table in tables], "model": policy.ref.revision})
        pairs = collect(
            tables,
            run.state,
            image_token=image_token,
            special_tokens=special_tokens_of(policy.tokenizer),
            image_root=recipe.image_root,
            accepts=policy.prompter.prepare,
            limit=recipe.limit,
            second=way.method.needs_second,
            needs=way.method.needs(way.settings),
        )
    _tell(pairs)
    dtype = str(policy.dtype).removeprefix("torch.")
    used = trl_options.resolve(
        recipe.trainer, way.options, seed=recipe.seed, dtype=dtype, dropout=recipe.lora.dropout > 0
    )
    trainer = trainer_of(recipe, way, used, policy, pairs, run.state)
    modules = adapter.adapted_modules(trainer.model, policy)
    logger.info(
        "Training %d LoRA layers in the language model (%d elsewhere) and %d projector in full.",
        modules["language_model"],
        modules["elsewhere"],
        modules["projector"],
    )
    counts = parameters(trainer)
    sizes = measured(trainer, policy, pairs)
    trainer.add_callback(Preflight(trainer, pairs, sizes, recipe.preflight))
    watching = _run_training(run, recipe, trainer, evaluate, on_progress)
    prove = partial(trainer.proof, run.path, policy, pairs.dataset[0], recipe.trust_remote_code)
    state, proof = None, None
    if is_spread(trainer.model):  # all processes have a part in what is saved, and in a forward pass
        state, proof = gathered(trainer.model), prove()
    end_collective()
    if process_index():
        return None
    if is_model_sharded():
        load_whole()
    if watching and (best := watching.best()):
        trainer.take(run.state / BEST)
        logger.info("Keeping the adapter of step %d, where %s was best.", best["step"], best["metric"])
    model = trainer.policy()
    with writing(f"the adapter in {run.path}"):
        adapter.save(model, policy.processor, policy.ref, run.path, state)
        if recipe.keep_checkpoints:
            _keep_checkpoints(run)
    facts = {
        "modules": modules,
        **({"mended": policy.mended} if policy.mended else {}),
        "parameters": counts,
        **({"quantization": arguments_of(policy.base_model)} if recipe.quantization else {}),
        "lengths": lengths(sizes, policy),
        "steps": trainer.state.global_step,
        **({"evaluations": watching.rows, "best": watching.best()} if watching else {}),
        "threads": torch.get_num_threads(),
        "processes": num_processes(),
        "prompt_shared": trainer.shared is not None,
        **({"annotator": {"name": recipe.annotator}} if recipe.annotator else {}),
        **sampling_facts(recipe.loss, own_values(policy.base_model.generation_config)),
        **trainer.facts(),
        "trainer": used,
    }
    return _Fitted(policy.ref, pairs, facts, proof or prove())


def _as_it_began(run: Run, recipe: TrainRecipe) -> tuple[list[Table], str | None]:
    """The preference data, and the revision of the model, at the commits that the run began with."""
    began = run.pinned(BEGAN)
    revisions = began.get("datasets") or [None] * len(recipe.dataset)
    tables = [
        open_table(spec, recipe.split, revision=revision)
        for spec, revision in zip(recipe.dataset, revisions, strict=True)
    ]
    return tables, began.get("model") or recipe.revision


def _dtype(asked: str) -> str:
    import torch

    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bfloat16" if asked == "auto" and has_bf16 else asked


def _tell(pairs: Pairs) -> None:
    skipped = ", ".join(f"{count} {reason}" for reason, count in pairs.skipped.items())
    logger.info("%d pairs%s.", len(pairs.dataset), f"; skipped rows: {skipped}" if skipped else "")
    for reason, rows in pairs.skips.items():
        logger.info("The first that is skipped as %s: %s: %s", reason, rows[0]["row"], rows[0]["detail"])
    for what, count in pairs.changed.items():
        logger.info("%d rows: %s.", count, what.replace("_", " "))


def _run_training(
    run: Run, recipe: TrainRecipe, trainer: Running, evaluate: Evaluator | None, on_progress: OnProgress | None
) -> Watching | None:
    from mmpref.align.callbacks import LogRows, Progress, Restore, Stop
    from mmpref.align.checkpoints import latest, step_of
    from mmpref.align.eval_callback import Watching
    from mmpref.vlm.adapters import check_names

    with main_process_first():
        checkpoint = latest(checkpoints_in(run.state))
    resumed = step_of(checkpoint) if checkpoint else 0
    if not process_index():
        trainer.add_callback(LogRows(run.path / "log.jsonl", resumed))
    watching = None
    if evaluate and recipe.watch.benchmarks:
        watching = Watching(trainer, evaluate, recipe.watch, run.path, run.state, resumed)
        trainer.add_callback(watching)
    if on_progress:
        trainer.add_callback(Progress(on_progress))
    if checkpoint:
        logger.info("Resuming from step %d.", step_of(checkpoint))
        if not is_model_sharded():  # which saves in other files
            check_names(str(checkpoint), trainer.model)
        if trainer.restore_finished(checkpoint, stopped=watching is not None and watching.exhausted):
            return watching
        trainer.add_callback(Restore(lambda: trainer.restore_pending(checkpoint)))
    stop = Stop()
    trainer.add_callback(stop)
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return watching


def _has_checkpoint(run: Run) -> bool:
    from mmpref.align.checkpoints import is_whole

    return any(is_whole(checkpoint) for checkpoint in checkpoints_in(run.state).glob("checkpoint-*"))


def _keep_checkpoints(run: Run) -> None:
    """Each as an adapter of its own; what names the base is the final one's."""
    from mmpref.align.checkpoints import is_whole

    for checkpoint in checkpoints_in(run.state).glob("checkpoint-*"):
        weights = checkpoint / "adapter_model.safetensors"
        if is_whole(checkpoint) and weights.is_file():
            kept = run.path / "checkpoints" / checkpoint.name
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(weights, kept / weights.name)
            shutil.copyfile(run.path / "adapter_config.json", kept / "adapter_config.json")


def _drop_restart_state(run: Run) -> None:
    """A finished run needs neither its checkpoints nor its copy of the pairs."""
    from mmpref.align.preference_data import DATA, FACTS

    shutil.rmtree(checkpoints_in(run.state), ignore_errors=True)
    for path in (
        *(run.state / name for name in (DATA, FACTS, f"{BEGAN}.json", BEST, "reward.json")),
        *run.state.glob("reference-*.f32"),
        *run.state.glob("features-*"),
    ):
        path.unlink(missing_ok=True)
