"""`mmpref.build_dataset`: options to a recipe, the recipe to a preference dataset."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmpref.api.checks import is_finished, look_up, refuse_absent
from mmpref.api.models import named_model
from mmpref.api.options import NameOrPath, as_path, build_recipe
from mmpref.api.planned import planned_build
from mmpref.api.progress import Progress, library_bars
from mmpref.api.results import BuiltDataset, run_path
from mmpref.api.state import process_restored
from mmpref.errors import UsageError
from mmpref.text_files import read_text

if TYPE_CHECKING:
    from mmpref.data.recipe import BuildRecipe
    from mmpref.recipes.schema import Dtype
    from mmpref.vlm.policy import Policy


def build_dataset(
    *,
    method: str | None = None,
    model: NameOrPath | Policy | tuple[Any, Any] | None = None,
    revision: str | None = None,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    source: Any = None,
    source_revision: str | None = None,
    source_config: str | None = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    columns: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
    split: str | None = None,
    skip: int | None = None,
    limit: int | None = None,
    where: str | Sequence[str] | None = None,
    subsample: int | None = None,
    exclude_images_of: Any = None,
    validation: float | None = None,
    strip_metadata: bool | None = None,
    keep_rejected: bool | None = None,
    seed: int | None = None,
    builder: Mapping[str, Any] | None = None,
    rho_th: float | Literal["auto"] | None = None,
    visible_tokens: float | None = None,
    iterations: int | None = None,
    similarity_threshold: float | None = None,
    similarity_model: str | None = None,
    noise_steps: int | None = None,
    guidance: bool | None = None,
    annotator: str | None = None,
    prompt_file: NameOrPath | None = None,
    block_size: int | Literal["auto"] | None = None,
    dtype: Dtype | None = None,
    quantization: Literal["4bit", "8bit"] | None = None,
    device_map: str | None = None,
    trust_remote_code: bool | None = None,
    recipe: NameOrPath | BuildRecipe | None = None,
    set: Mapping[str, Any] | None = None,
    output: NameOrPath | None = None,
    shard: tuple[int, int] | None = None,
    workers: int | None = None,
    concurrency: int = 8,
    token_price: tuple[float, float] | None = None,
    license: str | None = None,
    progress: bool = True,
) -> BuiltDataset:
    """Make a preference dataset: chosen answers from an SFT set, rejected ones by a method; ``mmpref build-dataset``.

    What is None comes from the recipe: of the testbed where no model is given, else of the paper (arXiv 2407.02477).
    The same call again goes on where the first stopped, and gives the same bytes.

    Args:
        method: how rejected answers are made, such as ``bdhs`` (``mmpref list datasets``).
        model: vision-language model: Hub id, folder, what `load_policy` gave, or a pair of a transformers model and
            its processor; a loaded one is left as it was. ``URL#MODEL`` of a server for methods that need no more than
            its answers.
        revision: of the model.
        adapter: what `train` gave for this model, Hub id or folder: answers are written by the model with it on.
        adapter_revision: of the adapter.
        source: rows with an image, a prompt and an answer: table name, file, folder or Hub dataset, or rows in memory
            (``datasets.Dataset``, pandas frame, iterable of dicts); or several of these.
        source_revision, source_config: of a Hub source.
        image_root: folders or ``.zip`` files that image paths are relative to.
        columns: what a row's parts are called, such as ``{"prompt": "question", "answer": "caption"}``.
        default_prompt: asked of rows that have none, such as captions.
        split: of the source, and of the dataset.
        skip: pass over so many first rows.
        limit: first rows only, of those that are not skipped.
        where: conditions ``FIELD OP VALUE``, such as ``"margin >= 1"``.
        subsample: draw so many of the rows, by the seed.
        exclude_images_of: evaluation sets (``NAME[:SPLIT]``, or rows in memory) whose images no row may have.
        validation: share of the rows, from 0 to 1, that is held out as a split with images of its own.
        strip_metadata: take what image files carry beside their pixels, such as the place, out of them; not the
            orientation.
        keep_rejected: leave the source's rejected answer, and put the method's into ``rejected_policy``.
        seed: of every random draw.
        builder: settings of the method; merged into the recipe's.
        rho_th: image tokens are hidden where u < rho_th; ``auto`` picks it by the share of pairs that the first try
            resolves on the first 64 rows.
        visible_tokens: image tokens that stay visible in the mean, in the place of rho_th.
        iterations: tries a pair, the last one unguided.
        similarity_threshold: a try is taken below this cosine similarity.
        similarity_model: sentence-transformers model that measures it: ``ID``, ``ID@REVISION`` or a folder.
        noise_steps: diffusion steps of noise, from 0 to 1000, instead of masking.
        guidance: continue the reference's sentences.
        annotator: who ranks, rewrites or checks answers, for methods that ask.
        prompt_file: template for the annotator.
        block_size: rows that are worked on together; ``auto``: by the memory of an accelerator.
        dtype, quantization, device_map, trust_remote_code: how the model is loaded.
        recipe: name, YAML file, or what `mmpref.recipe` gave.
        set: more settings by nested or dotted keys, as ``--set``; None overrides too.
        output: the run's folder; by default under ``runs/``.
        shard: (I, N): work on every N-th block, from I.
        workers: processes that preprocess images; by default none on a CPU.
        concurrency: requests to an endpoint at a time.
        token_price: of a million tokens in and out, for ``manifest["annotator"]["cost"]``.
        license: licence of a source that states none, by its id on the Hub, for the card.
        progress: say how far it is: a bar in a terminal or a notebook, a log line now and then elsewhere.

    Returns:
        The dataset: its folder, manifest and report; `to_datasets`, `load` and `to_pandas` give the rows.

    Raises:
        UsageError: unknown method or setting.
        InputError: a source that cannot be read or has no usable row.
        ModelError: a model that cannot be loaded.
        RunError: a folder that belongs to another recipe, or no room on the disk.
    """
    options = dict(locals())
    work = {
        name: options.pop(name)
        for name in ("output", "shard", "workers", "concurrency", "token_price", "license", "progress")
    }
    with named_model(options) as settings:
        return run_build(build_recipe(**settings), **work)


def run_build(
    recipe: BuildRecipe,
    output: NameOrPath | None = None,
    *,
    shard: tuple[int, int] | None = None,
    workers: int | None = None,
    concurrency: int = 8,
    token_price: tuple[float, float] | None = None,
    check_source: Callable[[Mapping[str, Any]], None] | None = None,
    begun: Mapping[str, Any] | None = None,
    license: str | None = None,
    progress: bool = True,
) -> BuiltDataset:
    """`build_dataset` of a resolved recipe; where a launcher has started several processes, this one's shard of it.

    Args:
        check_source: is told the source's facts before any work, and may refuse.
        begun: ``source`` of the manifest of an earlier build, whose source this one goes on with.
    """
    from mmpref.data.build import build_dataset as build
    from mmpref.data.builder import BUILDERS
    from mmpref.hub.cards.dataset import write_dataset_card

    folder = as_path("--output", output) if output else None
    plan = partial(planned_build, recipe, folder)
    refuse_absent(recipe, plan=plan)
    if not is_finished(plan().path):
        look_up(recipe)
    rank, processes = launched()
    if processes > 1:
        if shard:
            raise UsageError("--shard and a launcher of several processes both split the work.", "Use one of them.")
        shard = (rank, processes)
    uses_model, watched = BUILDERS.get(recipe.method).uses_model, progress and rank == 0
    with (
        process_restored(uses_model),
        library_bars(watched) if uses_model else contextlib.nullcontext(),
        Progress("rows", watched=watched) as bar,
    ):
        manifest = build(
            recipe,
            folder,
            shard=shard,
            wait=processes > 1 and rank == 0,
            workers=workers,
            concurrency=concurrency,
            check_source=check_source,
            begun=begun,
            licence=license,
            write_card=write_dataset_card,
            on_progress=bar.block,
        )
    if "waiting" in manifest:
        return BuiltDataset(Path(manifest["path"]), manifest)
    if token_price and "annotator" in manifest:
        manifest["annotator"]["cost"] = _cost(manifest["annotator"], token_price)
    path = run_path("build-dataset", recipe.method, manifest, output)
    return BuiltDataset(path, manifest, json.loads(read_text(path / "report.json")))


def launched() -> tuple[int, int]:
    """This process's number and how many there are, where a launcher (accelerate, torchrun) started several."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _cost(annotator: Mapping[str, Any], price: tuple[float, float]) -> float:
    """What the annotator's tokens cost, by the price of a million tokens in and out."""
    tokens = annotator.get("prompt_tokens", 0), annotator.get("completion_tokens", 0)
    return round(sum(count * each for count, each in zip(tokens, price, strict=True)) / 1e6, 4)
