"""`mmpref.evaluate` and `mmpref.compare`: benchmarks on a model, and such runs side by side."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmpref.api.checks import is_finished, look_up, refuse_absent
from mmpref.api.models import named_model
from mmpref.api.options import NameOrPath, as_path, evaluate_recipe
from mmpref.api.planned import planned_evaluation
from mmpref.api.progress import Progress, library_bars
from mmpref.api.results import Compared, Evaluation, run_path
from mmpref.api.state import process_restored
from mmpref.errors import InputError, UsageError
from mmpref.run.results import ADAPTER, BASE, Results

if TYPE_CHECKING:
    from mmpref.bench.finished_model import FinishedModel
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.recipes.schema import Dtype
    from mmpref.vlm.policy import Policy


def evaluate(
    *,
    model: NameOrPath | Policy | tuple[Any, Any] | None = None,
    revision: str | None = None,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    benchmark: str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    benchmarks: str | Sequence[str] | None = None,
    split: str | None = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    blind: Literal["no-image", "masked"] | None = None,
    judge: str | None = None,
    judge_prompt: NameOrPath | None = None,
    judge_repeats: int | None = None,
    judge_temperature: float | None = None,
    judge_max_tokens: int | None = None,
    judge_revision: str | None = None,
    endpoint_revision: str | None = None,
    thinking: str | Sequence[str] | None = None,
    seed: int | None = None,
    dtype: Dtype | None = None,
    quantization: Literal["4bit", "8bit"] | None = None,
    device_map: str | None = None,
    trust_remote_code: bool | None = None,
    recipe: NameOrPath | EvaluateRecipe | None = None,
    set: Mapping[str, Any] | None = None,
    output: NameOrPath | None = None,
    batch_size: int = 32,
    concurrency: int = 8,
    workers: int | None = None,
    save: NameOrPath | None = None,
    progress: bool = True,
) -> Evaluation:
    """Run benchmarks on a model and, with an adapter, on both, with paired differences; ``mmpref evaluate``.

    What is None comes from the recipe: of the testbed where no model is given, else of the paper (arXiv 2407.02477).
    The same call again goes on where the first stopped.

    Args:
        model: Hub id, folder, ``URL#MODEL`` of an endpoint, what `load_policy` gave (its adapter is scored beside the
            base), or a pair of a transformers model and its processor; a loaded one is left as it was.
        revision: of the model.
        adapter: what `train` gave, Hub id or folder, scored beside the base; beside a served one ``URL#NAME``.
        adapter_revision: of the adapter.
        benchmark: names (``mmpref list benchmarks``), or a mapping from names of what is evaluated to settings, merged
            into the recipe's; ``data`` may be rows in memory.
        benchmarks: names, where ``benchmark`` holds settings; by default the recipe's, all of them.
        split: of the benchmarks' data.
        image_root: folders or ``.zip`` files that image paths in the benchmarks' rows are relative to.
        columns: what your own data call what a benchmark reads, such as ``{"answer": "label"}``.
        limit: first samples of each only.
        blind: control: ask without the images, or with all image tokens hidden.
        judge: who judges, for benchmarks that need it.
        judge_prompt: the file (a `Path`) or the text of a template for the judge.
        judge_repeats: how often the judge is asked the same.
        judge_temperature, judge_max_tokens, judge_revision: of the judge.
        endpoint_revision: a word that tells apart what an endpoint serves under one name.
        thinking: markers of reasoning, each ``OPEN CLOSE``.
        seed: of the bootstrap.
        dtype, quantization, device_map, trust_remote_code: how the model is loaded.
        recipe: name, YAML file, or what `mmpref.recipe` gave.
        set: more settings by nested or dotted keys, as ``--set``; None overrides too.
        output: the run's folder; by default under ``runs/``.
        batch_size: answers at a time; they do not depend on it.
        concurrency: requests to an endpoint at a time.
        workers: processes that decode and preprocess images; by default none on a CPU. Answers do not depend on it.
        save: folder to write the results to with ``evaluate.save`` as well.
        progress: say how far it is: a bar in a terminal or a notebook, a log line now and then elsewhere.

    Returns:
        The evaluation: its folder, manifest and results; shares are from 0 to 1, intervals of 95 %, by image.

    Raises:
        UsageError: unknown benchmark or setting.
        InputError: benchmark data that cannot be read.
        ModelError: a model or adapter that cannot be loaded, or a judge that cannot be reached.
        RunError: a folder of another recipe, or model, adapter or data that changed since the run was begun.
    """
    options = dict(locals())
    work = {name: options.pop(name) for name in ("output", "batch_size", "concurrency", "workers", "save", "progress")}
    with named_model(options, adapters=True) as settings:
        return run_evaluate(evaluate_recipe(**settings), **work)


def run_evaluate(
    recipe: EvaluateRecipe,
    output: NameOrPath | None = None,
    *,
    batch_size: int = 32,
    concurrency: int = 8,
    workers: int | None = None,
    save: NameOrPath | None = None,
    progress: bool = True,
) -> Evaluation:
    """`evaluate` of a resolved recipe."""
    from mmpref.bench.evaluate import evaluate as run_evaluation
    from mmpref.bench.export import save as export
    from mmpref.distributed import process_index

    folder = as_path("--output", output) if output else None
    plan = partial(planned_evaluation, recipe, folder)
    refuse_absent(recipe, plan=plan)
    if not is_finished(plan().path):
        look_up(recipe)
    watched = progress and not process_index()
    with process_restored(), library_bars(watched), Progress("answers", watched=watched) as bar:
        manifest = run_evaluation(
            recipe,
            folder,
            batch_size=batch_size,
            concurrency=concurrency,
            workers=workers,
            on_progress=bar.reach,
        )
    results = Results.from_dict(manifest or {"results": []})
    if save and manifest:
        export(results, as_path("--save", save))
    return Evaluation(run_path("evaluate", recipe.title, manifest, output), manifest, results)


def compare(
    *runs: NameOrPath,
    baseline: NameOrPath | None = None,
    arms: Mapping[str, NameOrPath | Sequence[NameOrPath]] | None = None,
    margin: float | Mapping[str, float] | Sequence[str] | None = None,
) -> Compared:
    """Set evaluation runs side by side, with intervals and, where they answered the same, with tests; ``mmpref
    compare``.

    Every column is tested against the first that has the benchmark: by McNemar's exact test for shares of right
    answers, by the paired bootstrap else, both by image; headline metrics are corrected by Holm's method.

    Args:
        runs: what `evaluate` gave, or folders of finished evaluations.
        baseline: what they are tested against: the adapter (the base, where there is none) of a run's folder, or of a
            published evaluation at a commit, ``hf://datasets/OWNER/NAME@REVISION`` or ``hf://OWNER/NAME@REVISION`` of
            a model; ``#base`` behind either names its base.
        arms: name -> several runs of one arm, of adapters that differ in their seed, or by several judges: its mean
            with an interval over seeds and images, and how much of a difference is seed.
        margin: a difference that makes none, of all benchmarks or by name: with it every headline metric is said to be
            no worse, worse, or that it cannot be told.

    Returns:
        The comparison: its table, its warnings, ``to_pandas()``.

    Raises:
        UsageError: no run, a margin of a benchmark that was not tested, or one where nothing was.
        RunError: a folder is no finished run.
        InputError: a run of another command, or an address that holds no evaluation.
        HubError: a published evaluation cannot be fetched.
    """
    if not runs and not arms:
        raise UsageError("There is nothing to compare.", "Give what evaluate gave, or folders of finished evaluations.")
    from mmpref.bench.compare import compare as set_side_by_side
    from mmpref.bench.no_worse import parse_margins
    from mmpref.hub.published_evaluation import ADDRESS

    several = {name: [of] if isinstance(of, str | os.PathLike) else of for name, of in (arms or {}).items()}
    for run in (*runs, *(one for of in several.values() for one in of)):
        if str(run).startswith(ADDRESS):
            raise UsageError(
                f"{run} is the address of a published evaluation, which stands for no folder of a run.",
                f"Others are tested against it by --baseline={run}.",
            )

    paths = _paths(runs)
    compared = set_side_by_side(
        paths,
        baseline=_baseline(str(baseline), paths) if baseline is not None else None,
        margins=parse_margins(margin),
        arms={name: _paths(of) for name, of in several.items()},
    )
    return Compared(compared)


def _paths(runs: Sequence[NameOrPath]) -> list[Path]:
    hint = "Give what evaluate gave, or folders of finished evaluations, several one by one: compare(*runs)."
    return [as_path("A run to compare", run, hint) for run in runs]


def _baseline(where: str, runs: Sequence[Path]) -> FinishedModel:
    """The model of a run, or of a published evaluation, that others are tested against; named apart from these runs."""
    from mmpref.bench.finished_model import run_names, tested_models
    from mmpref.hub.published_evaluation import ADDRESS, fetch_evaluation

    address, _, which = where.partition("#")
    if which not in ("", BASE, ADAPTER):
        raise UsageError(f"{where} names no model of an evaluation.", f"Behind # there is {BASE} or {ADAPTER}.")
    if address.startswith(ADDRESS):
        published = fetch_evaluation(address)
        path, name = published.path, published.name
    else:
        path = Path(address).expanduser()
        name = run_names([path, *runs])[0]
    base, model = tested_models(path)
    if which and which != model.model:
        if base is None or which == ADAPTER:
            raise InputError(f"{address} evaluated no {which} beside the {model.model}.")
        model = base
    return dataclasses.replace(model, name=f"{name}: {model.model}")
