"""Building a preference dataset: source -> blocks of pairs -> shards, report, card, manifest."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref import recipe as recipes
from mmpref.data.builder import BUILDERS, BlockWorker, Context
from mmpref.data.shards import Blocks, merge
from mmpref.data.sources import read_examples
from mmpref.data.stats import build_report
from mmpref.errors import InputError, UsageError
from mmpref.run import Run, default_path, open_run, write_atomic
from mmpref.tables import Table, open_table
from mmpref.types import Example, ModelRef, Pair, Skip

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

talk = logging.getLogger("mmpref")
WriteCard = Callable[[Path, dict[str, Any]], None]


@dataclass(frozen=True)
class BuildRecipe:
    """Everything that decides the bytes of a dataset.

    Args:
        model: Hub id, folder, or ``pkg:<package>/<path>``.
        source: table name, file, folder or Hub dataset with supervised rows.
        method: name of a builder.
        revision: of the model.
        source_revision: of a Hub source.
        split: of the source, and of the dataset.
        image_root: folders that image paths in rows are relative to.
        limit: take only the first rows of the source.
        seed: of every random draw.
        block_size: rows that are worked on together; part of the recipe, because sums in floating point depend on
            what is batched together.
        dtype: of the model.
        trust_remote_code: run code that comes with the model.
        builder: settings of the method.
    """

    model: str
    source: str
    method: str = "bdhs"
    revision: str | None = None
    source_revision: str | None = None
    split: str = "train"
    image_root: tuple[str, ...] = ()
    limit: int | None = None
    seed: int = 0
    block_size: int = 32
    dtype: str = "auto"
    trust_remote_code: bool = False
    builder: dict[str, Any] = field(default_factory=dict)


def build_dataset(
    recipe: BuildRecipe,
    output: Path | None = None,
    *,
    shard: tuple[int, int] | None = None,
    write_card: WriteCard | None = None,
    on_progress: Callable[[int, Sequence[Pair | Skip]], None] | None = None,
) -> dict[str, Any]:
    """Make the dataset of a recipe in a run directory, or finish what an earlier run left.

    Args:
        output: run directory; by default under ``runs/``.
        shard: (I, N): work only on every N-th block, from I; whoever completes the last block merges.
        write_card: writes ``README.md`` from the directory and the manifest's facts.
        on_progress: told the number of rows done and the block's outcomes.

    Returns:
        The manifest (``run.json``), or, when other shards are still at work, ``{"shard": ..., "waiting": n}``.

    Raises:
        UsageError: unknown method or setting.
        InputError: a source that cannot be read or has no usable row.
        RunError: a directory that belongs to another recipe, or no room on the disk.
    """
    builder = BUILDERS.get(recipe.method)
    settings = recipes.build(builder.config(), recipe.builder, f"builder {recipe.method}")
    recipe = dataclasses.replace(recipe, builder=recipes.as_plain(settings))
    if recipe.limit is not None and recipe.limit < 1:
        raise UsageError(f"--limit is {recipe.limit}; it must be at least 1.")
    run = open_run(output or default_path("build-dataset", recipe.method, recipe), "build-dataset", recipe)
    if run.finished:
        talk.info("%s is complete already.", run.path)
        return run.manifest()
    table = open_table(recipe.source, recipe.split, revision=recipe.source_revision)
    context = Context(cache(lambda: _load_policy(recipe)), ModelRef(recipe.model, recipe.revision), recipe.seed)
    with run.lock(f"lock-{shard[0]}-{shard[1]}" if shard else "lock"):
        worker = cache(lambda: builder.worker(context, settings))
        count = _work(run, recipe, table, worker, shard, on_progress)
        blocks = Blocks(run.state)
        missing = [number for number in range(count) if not blocks.done(number)]
        if missing:
            return {"path": str(run.path), "shard": list(shard or ()), "blocks": count, "waiting": len(missing)}
        with run.lock("merge-lock"):
            if run.finished:
                return run.manifest()
            return _finish(run, recipe, table, count, write_card)


def _load_policy(recipe: BuildRecipe) -> Policy:
    from mmpref.vlm.policy import Policy

    ref = ModelRef(recipe.model, recipe.revision)
    return Policy.load(ref, dtype=recipe.dtype, trust_remote_code=recipe.trust_remote_code)


def _work(
    run: Run,
    recipe: BuildRecipe,
    table: Table,
    worker: Callable[[], BlockWorker],
    shard: tuple[int, int] | None,
    on_progress: Callable[[int, Sequence[Pair | Skip]], None] | None,
) -> int:
    """Do the blocks that are not done yet; how many blocks the source has."""
    index, of = shard or (0, 1)
    blocks, count, seen = Blocks(run.state), 0, 0
    for number, block in enumerate(_batched(read_examples(table, recipe.image_root, recipe.limit), recipe.block_size)):
        count, seen = number + 1, seen + len(block)
        if number % of != index or blocks.done(number):
            continue
        outcomes = _outcomes(worker, block)
        blocks.write(number, outcomes)
        if on_progress:
            on_progress(seen, outcomes)
    if count == 0:
        raise InputError(f"The source {recipe.source} ({recipe.split}) has no rows.")
    return count


def _batched(rows: Iterable[Example | Skip], size: int) -> Iterator[list[Example | Skip]]:
    iterator = iter(rows)
    while block := list(itertools.islice(iterator, size)):
        yield block


def _outcomes(worker: Callable[[], BlockWorker], block: Sequence[Example | Skip]) -> list[Pair | Skip]:
    """The block's pairs and skips in the source's order; an example that fails is skipped alone."""
    examples = [row for row in block if isinstance(row, Example)]
    if not examples:
        return [row for row in block if isinstance(row, Skip)]
    work = worker()
    made: list[Pair | Skip]
    try:
        made = work(examples)
    except InputError:
        made = []
        for example in examples:
            try:
                made.extend(work([example]))
            except InputError as error:
                made.append(Skip(example.id, "failed", str(error)))
    results = iter(made)
    return [row if isinstance(row, Skip) else next(results) for row in block]


def _finish(run: Run, recipe: BuildRecipe, table: Table, count: int, write_card: WriteCard | None) -> dict[str, Any]:
    from mmpref.vlm.policy import identify

    blocks = Blocks(run.state)
    skips = [Skip(**skip) for number in range(count) for skip in blocks.describe(number)["skips"]]
    rows = sum(blocks.describe(number)["rows"] for number in range(count))
    if rows == 0:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in _counted(skips).items())
        first = next((skip.detail for skip in skips if skip.detail), "")
        raise InputError(f"No row of {recipe.source} ({recipe.split}) could be used ({reasons}). {first}".strip())
    files = merge(blocks, count, run.path / "data", recipe.split)
    report = build_report(run.path / "data", recipe.split, skips, int(recipe.builder.get("iterations", 1)))
    write_atomic(run.path / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    _, revision = identify(ModelRef(recipe.model, recipe.revision), recipe.trust_remote_code)
    facts = {
        "model": {"id": recipe.model, "revision": revision},
        "source": table.facts(),
        "method": recipe.method,
        "counts": {"rows": rows, "skipped": _counted(skips)},
        "data": files,
        "seeds": {"run": recipe.seed},
        "threads": _threads(),
    }
    manifest = {"command": run.command, "recipe": dict(run.recipe), "recipe_hash": run.recipe_hash, **facts}
    if write_card:
        write_card(run.path, manifest)
    return run.finish(facts)


def _counted(skips: Iterable[Skip]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for skip in skips:
        counts[skip.reason] = counts.get(skip.reason, 0) + 1
    return dict(sorted(counts.items()))


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def summary(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The result as lines of a table."""
    counts = manifest["counts"]
    skipped = ", ".join(f"{n} {reason}" for reason, n in counts["skipped"].items()) or "none"
    return [("pairs", str(counts["rows"])), ("skipped rows", skipped), ("seconds", str(manifest["seconds"]))]
