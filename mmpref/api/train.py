"""`mmpref.train`: options to a recipe, the recipe to an adapter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mmpref.api.build import run_build
from mmpref.api.checks import is_finished, look_up, refuse_absent
from mmpref.api.models import refuse_loaded
from mmpref.api.options import NameOrPath, as_path, recipe_name, train_recipe
from mmpref.api.planned import planned_build, planned_train, recipe_of_pairs
from mmpref.api.progress import Progress, library_bars
from mmpref.api.results import TrainedAdapter, run_path
from mmpref.api.state import process_restored
from mmpref.api.watching import watcher, with_watched
from mmpref.errors import UsageError
from mmpref.log import logger
from mmpref.run.files import JsonLines

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.recipes.schema import Dtype


def train(
    *,
    method: str | None = None,
    model: NameOrPath | None = None,
    revision: str | None = None,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    dataset: Any = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    columns: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
    split: str | None = None,
    annotator: str | None = None,
    learning_rate: float | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    lora: Mapping[str, Any] | None = None,
    loss: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    tuning: Literal["lora", "full"] | None = None,
    train_projector: bool | None = None,
    train_vision_tower: bool | None = None,
    projector_learning_rate: float | None = None,
    share_prompt: bool | None = None,
    attn: Literal["auto", "sdpa", "flash", "flex"] | None = None,
    preflight: Literal["auto", "always", "never"] | None = None,
    feature_cache_gb: float | None = None,
    keep_checkpoints: bool | None = None,
    watch: Mapping[str, Any] | None = None,
    eval_benchmark: str | Sequence[str] | None = None,
    eval_every: int | None = None,
    eval_limit: int | None = None,
    eval_split: str | None = None,
    best: str | None = None,
    patience: int | None = None,
    report_to: str | Sequence[str] | None = None,
    dtype: Dtype | None = None,
    quantization: Literal["4bit", "8bit"] | None = None,
    device_map: str | None = None,
    trust_remote_code: bool | None = None,
    recipe: NameOrPath | TrainRecipe | None = None,
    set: Mapping[str, Any] | None = None,
    output: NameOrPath | None = None,
    progress: bool = True,
) -> TrainedAdapter:
    """Train a LoRA adapter, and the projector, on preference data by TRL; ``mmpref train``.

    What is None comes from the recipe: of the testbed where no model is given, else of the paper (arXiv 2407.02477).
    The same call again goes on from the last checkpoint. Without a dataset the recipe's own is built first.

    Args:
        method: training method, such as ``dpo`` (``mmpref list methods``).
        model: vision-language model: Hub id or folder. A loaded one is refused: training would change it.
        revision: of the model.
        adapter: what an earlier training gave for this model, Hub id or folder: training goes on from it, and the
            reference is the model with it on.
        adapter_revision: of the adapter.
        dataset: preference rows: what `build_dataset` gave, table name, file, folder or Hub dataset, or rows in memory
            (``datasets.Dataset``, pandas frame, iterable of dicts); or several of these.
        image_root: folders or ``.zip`` files that image paths are relative to.
        columns: what a row's parts are called, such as ``{"prompt": "question", "answer": "caption"}``.
        default_prompt: asked of rows that have none, such as captions.
        split: of every dataset.
        annotator: who ranks answers, for methods that ask.
        learning_rate, epochs, batch_size: ``trainer``'s ``learning_rate``, ``num_train_epochs`` and
            ``per_device_train_batch_size`` (rows, with ``rloo`` answers), by the command's names.
        limit: first rows only.
        seed: of initial weights and row order.
        lora: ``r``, ``alpha``, ``dropout``, ``use_rslora``, ``use_dora``; merged into the recipe's.
        loss: settings of the method; merged into the recipe's.
        trainer: options of TRL's ``DPOConfig``; merged into the recipe's: ``{"max_steps": 10}`` drops nothing else.
        tuning: ``lora``; or ``full``, the weights of the language model themselves, to a whole model.
        train_projector: train the vision-language projector too, in full.
        train_vision_tower: train the vision tower too: by LoRA, or in full where ``tuning`` is.
        projector_learning_rate: the projector's own.
        share_prompt: run image and prompt once for both answers of a pair.
        attn: which kernel attends there.
        preflight: whether the longest batch is tried before the first step.
        feature_cache_gb: room on disk for features of images, in units of 10^9 bytes.
        keep_checkpoints: keep the adapters of checkpoints in the run.
        watch: settings of the benchmarks while training; the next six by the command's names.
        eval_benchmark: benchmarks to evaluate on while training.
        eval_every: steps between evaluations.
        eval_limit: first samples of each benchmark.
        eval_split: split of the benchmarks' data.
        best: ``BENCHMARK/METRIC``: keep the adapter of the step where it is best.
        patience: stop after so many evaluations without a new best.
        report_to: trackers that watch it as well: ``trackio``, ``wandb``, ``tensorboard``, ``mlflow``, ``codecarbon``.
        dtype, quantization, device_map, trust_remote_code: how the model is loaded.
        recipe: name, YAML file, or what `mmpref.recipe` gave.
        set: more settings by nested or dotted keys, as ``--set``; None overrides too.
        output: the run's folder; by default under ``runs/``.
        progress: say how far it is: a bar in a terminal or a notebook, a log line now and then elsewhere.

    Returns:
        The adapter: its folder, which plain PEFT loads, its manifest and its log.

    Raises:
        UsageError: unknown method or setting, or settings that contradict each other.
        InputError: preference data that cannot be read or has no usable row.
        ModelError: a model that cannot be loaded or trained.
        RunError: a folder that belongs to another recipe, no room on the disk, or a loss that is not finite.
    """
    refuse_loaded(model)
    options = {name: value for name, value in locals().items() if name not in ("output", "progress")}
    return run_train(train_recipe(**options), recipe_name(recipe, model, set), output, progress=progress)


def run_train(
    recipe: TrainRecipe, name: str | None, output: NameOrPath | None = None, *, progress: bool = True
) -> TrainedAdapter:
    """`train` of a resolved recipe.

    Args:
        name: whose settings of benchmarks are watched, and whose dataset is built where none is named; None
            for a recipe without a file.
    """
    from mmpref.align.train import train as run_training
    from mmpref.distributed import num_processes, process_index
    from mmpref.hub.cards.model import write_model_card

    recipe, folder = with_watched(recipe, name), as_path("--output", output) if output else None
    pairs = None if recipe.dataset else recipe_of_pairs(recipe, name)
    if pairs and num_processes() > 1:
        raise UsageError("Several processes need preference data that is there.", "Name it with --dataset.")
    plan = partial(planned_train, recipe, name, folder)
    refuse_absent(recipe, plan=plan)
    if pairs:
        built = planned_build(pairs)
        if plan().is_finished and not is_finished(built.path):
            pairs = None  # which nobody needs any more
        else:
            refuse_absent(pairs, plan=lambda: built)
        recipe = dataclasses.replace(recipe, dataset=(str(built.path),))
    if not is_finished(plan().path):
        look_up(recipe, ["dataset"] if pairs else ())
    main = process_index() == 0
    with process_restored(), library_bars(progress and main):
        evaluate = watcher(recipe)
        if pairs:
            logger.info("No --dataset: building the one of the recipe %r first.", name)
            run_build(pairs, progress=progress)
        with Progress("steps", watched=progress and main) as bar:
            manifest = run_training(
                recipe,
                folder,
                evaluate=evaluate,
                write_card=write_model_card,
                on_progress=bar.reach,
            )
    path = run_path("train", recipe.method, manifest, output)
    return TrainedAdapter(path, manifest, JsonLines(path / "log.jsonl").rows())
