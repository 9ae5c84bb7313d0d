"""Building a preference dataset: source -> blocks of pairs -> shards, report, card, manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from mmpref.data.blocks import BlockRunner, OnProgress
from mmpref.data.builder import BUILDERS, Builder, Context, Pilot, as_worker
from mmpref.data.contamination import open_excluded
from mmpref.data.finalize import ASKED, EMBEDDERS, PILOT, MethodRun, Splits, finish
from mmpref.data.made_of import refuse_changed, refuse_changed_policy
from mmpref.data.open_source import open_tables, source_facts
from mmpref.data.policy_loader import PolicyLoader
from mmpref.data.pool_size import decide_sizes
from mmpref.data.recipe import BuildRecipe, resolved
from mmpref.data.select import Condition, Selection
from mmpref.data.shards import Blocks
from mmpref.data.sources import Source, reading
from mmpref.distributed import has_accelerator
from mmpref.errors import RunError, memory_errors
from mmpref.images import Looks, open_looks
from mmpref.judges.named_files import pin_named_files
from mmpref.judges.pinned import pin_annotators
from mmpref.licence import with_licence
from mmpref.log import logger, warn
from mmpref.recipes import schema as recipes
from mmpref.run.directory import Run, WriteCard, default_path, open_run
from mmpref.sampling.embedders import pin_embedders
from mmpref.tables.columns import own_columns
from mmpref.tables.named_images import refuse_changed_images
from mmpref.tables.table import Table
from mmpref.types import Example, ModelRef
from mmpref.workers import default_workers


def build_dataset(
    recipe: BuildRecipe,
    output: Path | None = None,
    *,
    shard: tuple[int, int] | None = None,
    wait: bool = False,
    workers: int | None = None,
    concurrency: int = 8,
    check_source: Callable[[Mapping[str, Any]], None] | None = None,
    begun: Mapping[str, Any] | None = None,
    licence: str | None = None,
    write_card: WriteCard | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Make the dataset of a recipe in a run directory, or finish what an earlier run left.

    Args:
        output: run directory; by default under ``runs/``.
        shard: (I, N): work only on every N-th block, from I; whoever completes the last block merges.
        wait: with a shard, stay until the other shards have done their blocks too.
        workers: processes that preprocess images ahead of the model, and a quarter as many more that see whether rows'
            images can be decoded; by default `mmpref.workers.default_workers`.
        concurrency: requests to an endpoint in flight at a time.
        check_source: is told the source's facts before any work, and may refuse.
        begun: ``source`` of the manifest of the build whose source this one goes on with, as it was then.
        licence: of a source that states none, as its owner says.
        write_card: writes ``README.md`` from the directory and the manifest's facts.
        on_progress: told how many rows this process has to do in all, and a block's outcomes.

    Returns:
        The manifest (``run.json``), or, when other shards are still at work, ``{"shard": ..., "waiting": n}``.

    Raises:
        UsageError: unknown method or setting.
        InputError: a source that cannot be read or has no usable row.
        RunError: a directory that belongs to another recipe, one whose inputs have changed since, or no room on the
            disk.
    """
    builder = BUILDERS.get(recipe.method)
    where = tuple(Condition.parse(text) for text in recipe.where)
    recipe = spelled_out(recipe)
    settings = recipes.build(builder.config(), recipe.builder, f"builder {recipe.method}")
    run = open_run(output or default_path("build-dataset", recipe.method, recipe), "build-dataset", recipe)
    blocks = Blocks(run.state, recipe.validation is not None)
    adapter = builder.adapter(settings) or recipe.adapter
    if run.finished:
        refuse_changed(run, recipe)
        if licence:
            _warn_of_late_licence(run, licence)
        logger.info("%s is complete already.", run.path)
        blocks.remove()
        return run.manifest()
    lock = f"lock-{shard[0]}-of-{shard[1]}" if shard else "lock"
    with run.lock(lock), run.discard_on_failure(blocks.have_pairs):
        tables = open_tables(
            run, recipe.source, recipe.split, recipe.source_config, recipe.source_revision, builder.origin, begun
        )
        looks = open_looks(default_workers(builder.uses_model and has_accelerator()) if workers is None else workers)
        facts = with_licence(source_facts(tables), licence)
        if check_source:
            check_source(facts)
        pin_named_files(run, settings, recipe.annotator)
        refuse_changed_policy(run, recipe.model, adapter, run.pinned("model").get("adapter"))
        source = _open_source(run, recipe, where, builder, settings, tables, looks)
        refuse_changed_images(run.path, blocks.named_images(), [recipe.image_root or table.images for table in tables])
        model = ModelRef(recipe.model, recipe.revision, adapter, recipe.adapter_revision) if recipe.model else None
        policy = PolicyLoader(
            run,
            model,
            dtype=recipe.dtype,
            quantization=recipe.quantization,
            device_map=recipe.device_map,
            trust_remote_code=recipe.trust_remote_code,
        )
        settings = pin_embedders(run, EMBEDDERS, settings)
        settings, annotator = pin_annotators(run, ASKED, settings, recipe.annotator)
        context = Context(policy, model, recipe.seed, workers, annotator, concurrency, recipe.endpoint)
        with contextlib.ExitStack() as stack:
            stack.enter_context(memory_errors("the model", "Free some, or load it with --quantization."))
            stack.callback(policy.close)
            stack.callback(looks.close)
            settings, block_size = decide_sizes(
                run, policy, settings, recipe.block_size, builder.uses_model and not recipe.endpoint
            )
            if builder.pilot and (rows := builder.pilot.rows(settings)):
                settings = dataclasses.replace(
                    settings, **_decided(run, builder.pilot, context, settings, source, rows)
                )
            # Made on first use: a run without open blocks loads no model.
            worker = cache(
                lambda: stack.enter_context(contextlib.closing(as_worker(builder.worker(context, settings))))
            )
            runner = BlockRunner(blocks, worker, lambda: policy.loaded, recipe.keep_rejected)
            count = runner.run(source, block_size, shard, on_progress)
        missing = _missing(run, blocks, count)
        while missing and wait:
            time.sleep(0.5)
            missing = _missing(run, blocks, count)
        if missing:
            return {"path": str(run.path), "shard": list(shard or ()), "blocks": count, "waiting": missing}
        with _merge_lock(run):
            if not run.finished:
                finish(
                    run,
                    blocks,
                    count,
                    MethodRun(recipe.method, builder, settings, model, recipe.annotator, recipe.seed, recipe.endpoint),
                    Splits(recipe.split, recipe.validation, recipe.seed),
                    facts,
                    source.skips,
                    write_card,
                )
            blocks.remove()
            return run.manifest()


def _warn_of_late_licence(run: Run, licence: str) -> None:
    """The card of a finished run is written, and says what was known then.

    Raises:
        UsageError: as `with_licence`.
    """
    source = run.manifest()["source"]
    if with_licence(source, licence) != source:
        command = f"mmpref publish {shlex.quote(str(run.path))} --license {shlex.quote(licence)}"
        warn(
            f"{run.path} was made before --license {licence} was given, and its card says "
            f"{source['licence'] or 'unknown'} still. `{command}` states it where the dataset is published."
        )


def _open_source(
    run: Run,
    recipe: BuildRecipe,
    where: tuple[Condition, ...],
    builder: Builder,
    settings: Any,
    tables: Sequence[Table],
    looks: Looks,
) -> Source:
    """The rows of tables as the method is given them.

    Args:
        where: what rows must fulfil.
        settings: an instance of the builder's config.
        looks: sees whether images can be decoded.
    """
    return Source(
        own_columns(tables, recipe.columns, recipe.default_prompt, reading(builder.reads(settings, recipe.seed))),
        recipe.image_root,
        recipe.limit,
        reader=builder.reads(settings, recipe.seed),
        selection=Selection(where, recipe.subsample, recipe.seed) if where or recipe.subsample else None,
        excluded=open_excluded(run, recipe.exclude_images_of, recipe.image_root),
        pairs=builder.needs_pairs or recipe.keep_rejected,
        looks=looks,
        contexts=builder.takes_context,
        skip=recipe.skip or 0,
        strip_metadata=bool(recipe.strip_metadata),
    )


def spelled_out(recipe: BuildRecipe) -> BuildRecipe:
    """The recipe with every setting of its method: what a run directory belongs to.

    Raises:
        UsageError: unknown method or setting, or settings that make no sense together.
    """
    builder = BUILDERS.get(recipe.method)
    settings = recipes.build(builder.config(), recipe.builder, f"builder {recipe.method}")
    return resolved(dataclasses.replace(recipe, builder=recipes.as_plain(settings)), builder)


def _decided(run: Run, pilot: Pilot, context: Context, settings: Any, source: Source, rows: int) -> dict[str, Any]:
    """What the first usable rows decide, whatever the shard; as the run began with it."""
    if not (facts := run.pinned(PILOT)):
        blocks = (row for _, block in source.blocks(rows, lambda _: True) for row in block)
        examples = list(islice((row for row in blocks if isinstance(row, Example)), rows))
        decided, report = pilot.decide(context, settings, examples)
        facts = run.pin(PILOT, {"settings": decided, "report": report})
    return dict(facts["settings"])


def _missing(run: Run, blocks: Blocks, count: int) -> int:
    """How many blocks nobody has done yet; none where another shard has merged them, and taken them away."""
    missing = sum(not blocks.done(number) for number in range(count))
    return 0 if run.finished else missing


@contextlib.contextmanager
def _merge_lock(run: Run) -> Iterator[None]:
    """Two shards may see at the same time that all is done: the second waits for the first to merge."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(run.lock("merge-lock"))
                break
            except RunError:
                time.sleep(0.2)
        yield
