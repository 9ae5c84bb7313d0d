"""`mmpref.iterate`: rounds of build -> train -> evaluate on the growing policy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmpref.api.chain import chain_of
from mmpref.api.options import NameOrPath, as_path
from mmpref.api.results import Iterated
from mmpref.api.rounds import check_chain, folder_of, is_done, run_chain
from mmpref.run.results import Results
from mmpref.run.rounds import test_folder


def iterate(
    name: NameOrPath,
    *,
    rounds: int | None = None,
    rows: Literal["new", "same"] | None = None,
    limit: int | None = None,
    metric: str | None = None,
    split: str | None = None,
    benchmark: str | Sequence[str] | None = None,
    improves: Literal["better", "clear"] | None = None,
    patience: int | None = None,
    max_kl: float | None = None,
    kl_prompts: int | None = None,
    seed: int | None = None,
    set: Mapping[str, Any] | None = None,
    output: NameOrPath | None = None,
    progress: bool = True,
) -> Iterated:
    """Build pairs with the policy, train it on them, evaluate it, and again; ``mmpref iterate``.

    Round 1 begins with the model. Each later round builds with the adapter of the round before, goes on training that
    adapter, and the reference of its loss is the policy of the round before. What is None comes from the recipe's
    section ``iterate``. The same call again goes on where the first stopped, and gives the same bytes; with more rounds
    it goes on from those that are there.

    Args:
        name: recipe or YAML file with the sections ``build-dataset``, ``train`` and ``evaluate``, and perhaps
            ``iterate``.
        rounds: at most so many.
        rows: ``new``: each round builds on the next rows of the source; ``same``: on the same, with another seed.
        limit: rows of the source that a round builds on.
        metric: ``BENCHMARK/METRIC`` that says which round is kept.
        split: of the benchmarks' data that say so; the recipe's own is for the report in the end.
        benchmark: names of those that every round is evaluated on; by default all of the recipe.
        improves: ``better``: a round is kept whose metric is better; ``clear``: and its verdict is better.
        patience: stop after so many rounds in a row that are not kept.
        max_kl: a round that is farther from the base, in nats a token, is not kept, and the chain stops.
        kl_prompts: prompts that this is measured on; 0 leaves it out.
        seed: of the first round's building and training; each later round's is one more.
        set: more settings by section: ``{"train.trainer.max_steps": 10}``.
        output: the chain's folder; by default under ``runs/``.
        progress: say how far it is.

    Returns:
        The chain: its rounds, which one is kept, and what it has on data that chose nothing.

    Raises:
        UsageError: a setting that is unknown, or data that would both choose and report.
        InputError: data that cannot be read, or no rows left for a round.
        ModelError: a model that cannot be loaded or trained.
        RunError: a folder of another chain, or no room on the disk.
    """
    from mmpref.hub.cards.chain import write_chain_card

    names = [benchmark] if isinstance(benchmark, str) else benchmark
    options = {
        "rounds": rounds,
        "rows": rows,
        "limit": limit,
        "metric": metric,
        "split": split,
        "benchmarks": names or None,
        "improves": improves,
        "patience": patience,
        "max_kl": max_kl,
        "kl_prompts": kl_prompts,
        "seed": seed,
    }
    chain = chain_of(os.fspath(name), options, set or {})
    folder = folder_of(chain, as_path("--output", output) if output else None)
    if not is_done(chain, folder):
        check_chain(chain)
    manifest = run_chain(chain, folder, write_card=write_chain_card, progress=progress)
    kept = manifest["kept"]
    return Iterated(folder, manifest, Results.read(test_folder(folder, kept)) if kept else None)
