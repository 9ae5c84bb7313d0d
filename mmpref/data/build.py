"""Building a preference dataset: source -> blocks of pairs -> shards, report, card, manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.data.builder import BUILDERS, BlockWorker, Builder, Context
from mmpref.data.finalize import finish
from mmpref.data.open_source import open_excluded, open_tables, source_facts
from mmpref.data.recipe import BuildRecipe
from mmpref.data.select import Selection, parsed
from mmpref.data.shards import Blocks
from mmpref.data.sources import Source
from mmpref.data.stats import SAME
from mmpref.data.validation_split import VALIDATION
from mmpref.errors import HubError, ImageError, ModelError, RunError, UsageError, is_out_of_memory, reason_of
from mmpref.log import logger
from mmpref.recipes import schema as recipes
from mmpref.run.directory import Run, default_path, open_run
from mmpref.run.manifest import versions
from mmpref.tables.conversations import same_answer
from mmpref.types import Example, ModelRef, Pair, Skip

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

WriteCard = Callable[[Path, dict[str, Any]], None]
OnProgress = Callable[[int, Sequence[Pair | Skip]], None]

SPECIAL = "special-token"
"""Reason of a skip: a text has one of the model's special tokens in it."""
_NOT_THE_ROWS_FAULT = (ModelError, HubError, RunError, UsageError)


def build_dataset(
    recipe: BuildRecipe,
    output: Path | None = None,
    *,
    shard: tuple[int, int] | None = None,
    wait: bool = False,
    workers: int | None = None,
    concurrency: int = 8,
    check_source: Callable[[Mapping[str, Any]], None] | None = None,
    write_card: WriteCard | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Make the dataset of a recipe in a run directory, or finish what an earlier run left.

    Args:
        output: run directory; by default under ``runs/``.
        shard: (I, N): work only on every N-th block, from I; whoever completes the last block merges.
        wait: with a shard, stay until the other shards have done their blocks too.
        workers: processes that preprocess images ahead of the model; by default none on a CPU, up to 8 beside a GPU.
        concurrency: requests to an annotator's endpoint in flight at a time.
        check_source: is told the source's facts before any work, and may refuse.
        write_card: writes ``README.md`` from the directory and the manifest's facts.
        on_progress: told how many rows this process has to do in all, and a block's outcomes.

    Returns:
        The manifest (``run.json``), or, when other shards are still at work, ``{"shard": ..., "waiting": n}``.

    Raises:
        UsageError: unknown method or setting.
        InputError: a source that cannot be read or has no usable row.
        RunError: a directory that belongs to another recipe, or no room on the disk.
    """
    builder = BUILDERS.get(recipe.method)
    settings = recipes.build(builder.config(), recipe.builder, f"builder {recipe.method}")
    where = parsed(recipe.where)
    recipe = _resolved(dataclasses.replace(recipe, builder=recipes.as_plain(settings)), builder)
    for name in ("limit", "subsample", "block_size"):
        if (value := getattr(recipe, name)) is not None and value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1.")
    run = open_run(output or default_path("build-dataset", recipe.method, recipe), "build-dataset", recipe)
    if run.finished:
        logger.info("%s is complete already.", run.path)
        Blocks(run.state).remove()
        return run.manifest()
    lock = f"lock-{shard[0]}-of-{shard[1]}" if shard else "lock"
    with run.lock(lock), run.forgotten_if_it_fails(lambda: _has_pairs(run)):
        tables = open_tables(run, recipe.source, recipe, builder.origin)
        if check_source:
            check_source(source_facts(tables))
        reader = builder.reader(settings, recipe.seed) if builder.reader else None
        selection = Selection(where, recipe.subsample, recipe.seed) if where or recipe.subsample else None
        excluded = open_excluded(run, recipe.exclude_images_of)
        pairs = builder.needs_pairs or recipe.keep_rejected
        source = Source(tables, recipe.image_root, recipe.limit, reader, selection, excluded, pairs)
        policy = cache(lambda: _load_policy(run, recipe))
        model = ModelRef(recipe.model, recipe.revision) if recipe.model else None
        context = Context(policy, model, recipe.seed, workers, recipe.annotator, concurrency)
        as_text = _AsText(lambda: policy() if policy.cache_info().currsize else None)
        with _kept(lambda: builder.worker(context, settings)) as worker:
            count = _work(run, recipe, source, worker, as_text, shard, on_progress)
        blocks = Blocks(run.state)
        missing = _missing(run, blocks, count)
        while missing and wait:
            time.sleep(0.5)
            missing = _missing(run, blocks, count)
        if missing:
            return {"path": str(run.path), "shard": list(shard or ()), "blocks": count, "waiting": missing}
        with _merge_lock(run):
            if not run.finished:
                finish(run, recipe, tables, source.left_out, count, write_card)
            blocks.remove()
            return run.manifest()


def _resolved(recipe: BuildRecipe, builder: Builder) -> BuildRecipe:
    """The recipe in the one form that its hash is taken of.

    Raises:
        UsageError: no model or source where the method needs one, or a setting that makes no sense with it.
    """
    if builder.uses_model and not recipe.model:
        raise UsageError(f"The method {recipe.method} needs a model.", "Give it with --model.")
    if not recipe.source and builder.origin is None:
        raise UsageError(f"The method {recipe.method} needs a source.", "Give it with --source.")
    if builder.needs_annotator and not recipe.annotator:
        raise UsageError(f"The method {recipe.method} asks an annotator.", "Name one with --annotator.")
    if not builder.needs_annotator:
        recipe = dataclasses.replace(recipe, annotator=None)
    if builder.writes_chosen and recipe.keep_rejected:
        raise UsageError(
            f"The method {recipe.method} writes both answers: there are none of the source's to keep.",
            "Leave keep_rejected out.",
        )
    if not builder.uses_model:
        if recipe.keep_rejected and not builder.needs_annotator:
            raise UsageError(
                f"The method {recipe.method} has no rejected answers but the source's own: keep_rejected "
                "is for methods that write theirs."
            )
        if recipe.model:
            logger.warning("The method %s uses no model: %s is not loaded.", recipe.method, recipe.model)
        recipe = dataclasses.replace(recipe, model=None, revision=None)
    if recipe.validation is not None and not (0 < recipe.validation < 1 and recipe.split != VALIDATION):
        raise UsageError(
            f"validation is {recipe.validation} of the split {recipe.split!r}.",
            "It is a share between 0 and 1 of another split.",
        )
    source = recipe.source
    if isinstance(source, tuple) and len(source) < 2:
        source = source[0] if source else None
    return dataclasses.replace(recipe, source=source)


@contextlib.contextmanager
def _kept(make: Callable[[], BlockWorker]) -> Iterator[Callable[[], BlockWorker]]:
    """The worker, made on first use and closed at the end."""
    made: list[BlockWorker] = []

    def worker() -> BlockWorker:
        if not made:
            made.append(make())
        return made[0]

    try:
        yield worker
    finally:
        for one in made:
            getattr(one, "close", lambda: None)()


def _has_pairs(run: Run) -> bool:
    """Whether any block has a pair: a build of skipped rows only is worth nothing to the corrected command."""
    blocks = Blocks(run.state)
    return any(blocks.describe(number)["rows"] for number in blocks.numbers())


def _load_policy(run: Run, recipe: BuildRecipe) -> Policy:
    """The model at the revision, and with the number of threads, that the run began with: both decide its bytes."""
    import torch

    from mmpref.vlm.decoding import own_values
    from mmpref.vlm.load import load_policy

    began_with = run.pinned("model")
    torch.set_num_threads(began_with.get("threads") or torch.get_num_threads())
    ref = ModelRef(recipe.model or "", began_with.get("revision") or recipe.revision)
    policy = load_policy(
        ref,
        dtype=recipe.dtype,
        quantization=recipe.quantization,
        device_map=recipe.device_map,
        trust_remote_code=recipe.trust_remote_code,
    )
    began = began_with.get("versions") or versions()
    for name, now in versions().items():
        if began.get(name) != now:
            logger.warning(
                "This run began with %s %s and goes on with %s: its bytes may differ from an uninterrupted run's.",
                name,
                began.get(name),
                now,
            )
    facts = {"revision": policy.ref.revision, "threads": torch.get_num_threads(), "versions": began}
    own = own_values(policy.base_model.generation_config)
    facts |= {
        "family": policy.family.model_type,
        "probe": policy.verification,
        "mended": policy.mended,
        "generation": own,
    }
    run.pin("model", facts)
    return policy


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


def _work(
    run: Run,
    recipe: BuildRecipe,
    source: Source,
    worker: Callable[[], BlockWorker],
    as_text: _AsText,
    shard: tuple[int, int] | None,
    on_progress: OnProgress | None,
) -> int:
    """Do the blocks that are not done yet; how many blocks the source has."""
    index, of = shard or (0, 1)
    blocks, size = Blocks(run.state, recipe.validation is not None), recipe.block_size
    count = -(-len(source) // size)
    wanted = {number for number in range(index, count, of) if not blocks.done(number)}
    rows = sum(min(size, len(source) - number * size) for number in wanted)
    read = source.blocks(size, wanted.__contains__)
    if recipe.keep_rejected:
        read = ((number, [_with_rejected(row) for row in block]) for number, block in read)
    failed: list[str] = []
    for number, block in _one_ahead(read, worker):
        outcomes = _outcomes(worker, block, lambda: _has_pairs(run), failed)
        if recipe.keep_rejected:
            outcomes = [_beside_the_sources(outcome) for outcome in outcomes]
        outcomes = [as_text(outcome) for outcome in outcomes]
        blocks.write(number, outcomes, _notes(worker, block))
        if on_progress:
            on_progress(rows, outcomes)
    return count


def _notes(worker: Callable[[], BlockWorker], block: Sequence[Example | Skip]) -> dict[str, float]:
    """What the worker counted in a block that it has worked on."""
    if not any(isinstance(row, Example) for row in block):
        return {}
    notes: dict[str, float] = getattr(worker(), "notes", dict)()
    return notes


def _with_rejected(row: Example | Skip) -> Example | Skip:
    """The row, if it has a rejected answer of its own to keep."""
    if isinstance(row, Skip) or (row.rejected and not same_answer(row.rejected, row.answer)):
        return row
    return Skip(row.id, SAME if row.rejected else "no-rejected")


class _AsText:
    """Leaves out pairs with a text that the model's tokenizer does not take for text: the source's answers and those
    that the model has written.

    Args:
        policy: the model, where one has been loaded.
    """

    def __init__(self, policy: Callable[[], Policy | None]) -> None:
        self._policy = policy
        self._special: Callable[[str], str | None] | None = None

    def __call__(self, outcome: Pair | Skip) -> Pair | Skip:
        if isinstance(outcome, Skip) or (policy := self._policy()) is None:
            return outcome
        if self._special is None:
            from mmpref.vlm.special_tokens import special_token_in, special_tokens_of

            self._special = special_token_in(special_tokens_of(policy.tokenizer))
        texts = {
            "prompt": "\n".join(turn.content for turn in outcome.example.prompt),
            "chosen": outcome.chosen,
            "rejected": outcome.rejected,
            "rejected_policy": outcome.rejected_policy or "",
        }
        for name, text in texts.items():
            if token := self._special(text):
                return Skip(outcome.example.id, SPECIAL, f"{name} contains {token}")
        return outcome


def _beside_the_sources(outcome: Pair | Skip) -> Pair | Skip:
    """The source's rejected answer, and the method's beside it for averaged losses."""
    if isinstance(outcome, Skip) or outcome.example.rejected is None:
        return outcome
    return dataclasses.replace(outcome, rejected=outcome.example.rejected, rejected_policy=outcome.rejected)


def _one_ahead(
    blocks: Iterator[tuple[int, list[Example | Skip]]], worker: Callable[[], BlockWorker]
) -> Iterator[tuple[int, list[Example | Skip]]]:
    """The blocks, each told to the worker one block before its turn."""
    before: tuple[int, list[Example | Skip]] | None = None
    for numbered in blocks:
        examples = [row for row in numbered[1] if isinstance(row, Example)]
        if examples:
            getattr(worker(), "begin", lambda block: None)(examples)
        if before is not None:
            yield before
        before = numbered
    if before is not None:
        yield before


def _outcomes(
    worker: Callable[[], BlockWorker], block: Sequence[Example | Skip], proven: Callable[[], bool], failed: list[str]
) -> list[Pair | Skip]:
    """The block's pairs and skips in the source's order; an example that fails is skipped alone.

    Args:
        proven: whether the method has made a pair in this run.
        failed: rows of this session that an unexpected error took, while none worked.
    """
    examples = [row for row in block if isinstance(row, Example)]
    if not examples:
        return [row for row in block if isinstance(row, Skip)]
    work = worker()
    made: list[Pair | Skip]
    try:
        made = work(examples)
    except _NOT_THE_ROWS_FAULT:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            # Not one by one: that would succeed, with other bytes than on a machine with more memory.
            raise RunError(
                f"The memory of the machine does not suffice: {reason_of(error)}",
                "Use a smaller builder.batch_size or block_size.",
            ) from error
        made = _one_by_one(work, examples, error, proven, failed)
    else:
        failed.clear()
    results = iter(made)
    return [row if isinstance(row, Skip) else next(results) for row in block]


def _one_by_one(
    work: BlockWorker, examples: Sequence[Example], first: Exception, proven: Callable[[], bool], failed: list[str]
) -> list[Pair | Skip]:
    """Find the examples that a method cannot digest. The fault is not theirs if it is every one of several whose images
    are right, and the method has not worked before either.

    Args:
        failed: of blocks before this one, while nothing worked.
    """
    made: list[Pair | Skip] = []
    refused: list[Skip] = []
    for example in examples:
        try:
            made.extend(work([example]))
            continue
        except _NOT_THE_ROWS_FAULT:
            raise
        except ImageError as error:
            refused.append(Skip(example.id, "bad-image", str(error)))
        except Exception as error:
            refused.append(Skip(example.id, "failed", f"{type(error).__name__}: {reason_of(error)}"))
            failed.append(example.id)
        made.append(refused[-1])
    if any(not (isinstance(outcome, Skip) and outcome.reason in ("bad-image", "failed")) for outcome in made):
        failed.clear()
    elif len(failed) > 1 and not proven():
        raise first
    for skip in refused:
        logger.warning("Row %s is skipped: %s", skip.id, skip.detail)
    return made
