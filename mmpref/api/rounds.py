"""The work of a chain: round after round, each step in a run directory of its own, until the rule stops it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.api.build import run_build
from mmpref.api.chain import Chain
from mmpref.api.checks import is_finished, look_up, open_data, refuse_absent
from mmpref.api.evaluate import run_evaluate
from mmpref.api.row_checks import check_rows
from mmpref.api.state import process_restored
from mmpref.api.train import run_train
from mmpref.api.wording import in_section
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import RunError, StaleRunError, UsageError
from mmpref.hub_commits import keeping_commits
from mmpref.log import counted, logger
from mmpref.run.directory import Run, WriteCard, default_path, open_run
from mmpref.run.files import write_atomic
from mmpref.run.manifest import MANIFEST, read_manifest
from mmpref.run.results import ADAPTER, ALL, BASE, Key, Results, Value
from mmpref.run.rounds import Round, kept_of, start_folder, test_folder
from mmpref.text_files import read_text

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.run.results import Difference

_KL = "kl.json"
"""In a round's folder: how far its policy is from the base."""
_ANSWERS = "answers"
"""In a chain's state: what the base was answered, which every round's evaluation is beside."""
_COMMITS = "commits.json"
"""There too: what names on the Hub meant when the chain began."""
_MADE = {"build-dataset": ("adapter",), "train": ("dataset", "adapter"), "evaluate": ("adapter",)}
"""Settings that earlier steps make."""


def folder_of(chain: Chain, output: Path | None) -> Path:
    """Where a chain goes."""
    return output or default_path("iterate", chain.recipe.build.method, chain.recipe)


def check_chain(chain: Chain, absent: Callable[..., Any] = refuse_absent) -> None:
    """Look, before any work, for all that the recipes of a chain name, and read the data of its benchmarks.

    Args:
        absent: looks at one recipe, as `mmpref.api.checks.refuse_absent` does.

    Raises:
        MmprefError: as the steps would; and a metric that no benchmark has.
    """
    from mmpref.align.recipe import refuse_metric

    recipe = chain.recipe
    recipes: list[tuple[str, BuildRecipe | TrainRecipe | EvaluateRecipe]] = [
        ("build-dataset", recipe.build),
        ("train", recipe.train),
        ("evaluate", recipe.dev),
        ("evaluate", recipe.test),
    ]
    for step, one in recipes:
        made = [name for name in _MADE[step] if name == "dataset" or getattr(one, name, None) is None]
        with in_section(chain.name, step):
            absent(one, made)
            look_up(one, made)
            check_rows(_of_all_rounds(one, chain), made)
            if step != "build-dataset":
                open_data(one)
    refuse_metric(chain.settings.metric, _metrics(recipe.dev, chain.settings.metric.partition("/")[0]))


def _of_all_rounds(recipe: Any, chain: Chain) -> Any:
    """The recipe of the first round's pairs with the rows of all rounds; any other as it is."""
    if isinstance(recipe, BuildRecipe) and recipe.limit and chain.settings.rows == "new":
        return dataclasses.replace(recipe, limit=recipe.limit * chain.settings.at_most)
    return recipe


def run_chain(
    chain: Chain, output: Path | None = None, *, write_card: WriteCard | None = None, progress: bool = True
) -> dict[str, Any]:
    """Do the rounds of a chain in a folder, or finish what an earlier process left.

    Returns:
        The manifest.

    Raises:
        MmprefError: as the steps; a folder of another chain.
    """
    from mmpref.api.made_of import refuse_changed
    from mmpref.bench.answer_cache import share_in
    from mmpref.distributed import num_processes

    if num_processes() > 1:
        raise UsageError(
            "A chain starts in one process.", "Leave the launcher out, or do the commands of `--dry-run` with it."
        )
    run = open_run(folder_of(chain, output), "iterate", chain.recipe)
    with run.lock(), run.discard_on_failure(lambda: False):
        if run.finished:
            with _whole_chain(run.path):
                refuse_changed(run.path, run.manifest())
            if not goes_on(chain, run.manifest()):
                logger.info("%s is complete already.", run.path)
                return run.manifest()
        (run.path / MANIFEST).unlink(missing_ok=True)
        answers = run.state / _ANSWERS
        with keeping_commits(run.state / _COMMITS):
            shared = shared_questions(chain)
            with share_in(answers):
                rounds = _rounds(run.path, chain, progress)
            shutil.rmtree(answers, ignore_errors=True)
            return _finish(run, chain, rounds, shared, write_card, progress)


def is_done(chain: Chain, folder: Path) -> bool:
    """Whether a folder holds a finished chain that has no more rounds to do: nothing more is needed for it."""
    return is_finished(folder) and not goes_on(chain, read_manifest(folder))


def goes_on(chain: Chain, manifest: Mapping[str, Any]) -> bool:
    """Whether a finished chain has rounds to do: more are asked for, and the rule did not stop it."""
    rounds = [Round.from_dict(row) for row in manifest["rounds"]]
    return len(rounds) < chain.settings.at_most and chain.settings.rule.reason_to_stop(rounds) is None


def _rounds(folder: Path, chain: Chain, progress: bool) -> list[Round]:
    """All rounds until the rule stops the chain. What is done is read: a restart decides as the first process did."""
    if start := chain.start():
        logger.info("Before round 1: evaluating %s, which it begins with ...", start.resolved().adapter)
        with in_section(chain.name, "evaluate"):
            run_evaluate(start.resolved(), start_folder(folder), progress=progress)
    rounds: list[Round] = []
    for number in range(1, chain.settings.at_most + 1):
        _do(folder, chain, number, progress)
        rounds.append(_measured(folder, chain, number, kept_of(rounds)))
        logger.info("Round %d: %s.", number, rounds[-1].outcome)
        if chain.settings.rule.reason_to_stop(rounds):
            break
    return rounds


def _do(folder: Path, chain: Chain, number: int, progress: bool) -> None:
    calls, here = chain.calls(number, folder), folder / f"round-{number}"
    source = read_manifest(folder / "round-1" / "build-dataset")["source"] if number > 1 else None
    work: dict[str, Callable[[Any, Path], Any]] = {
        "build-dataset": lambda recipe, path: run_build(recipe, path, begun=source, progress=progress),
        "train": lambda recipe, path: run_train(recipe, chain.name, path, progress=progress),
        "evaluate": lambda recipe, path: run_evaluate(recipe, path, progress=progress),
    }
    for call in calls:
        logger.info("Round %d of at most %d: %s ...", number, chain.settings.at_most, call.command)
        with in_section(chain.name, call.command), _whole_chain(folder):
            work[call.command](call.resolved(), here / call.command)
    if chain.settings.kl_prompts:
        _measure_kl(here, calls.evaluate.resolved(), chain)


@contextlib.contextmanager
def _whole_chain(folder: Path) -> Iterator[None]:
    """A round that is stale makes its chain so: the later ones go on from it.

    Raises:
        StaleRunError: in place of the round's.
    """
    try:
        yield
    except StaleRunError as error:
        raise StaleRunError(error.message, folder) from error


def _measure_kl(here: Path, recipe: EvaluateRecipe, chain: Chain) -> None:
    """The mean KL of the round's policy from the base, written once: a second measurement may round otherwise."""
    if (here / _KL).is_file():
        return
    from mmpref.bench.first_requests import first_requests
    from mmpref.sampling.kl import mean_kl
    from mmpref.types import ModelRef
    from mmpref.vlm.load import load_policy

    prompts = chain.settings.kl_prompts
    requests, max_new_tokens = first_requests(recipe, chain.settings.metric.partition("/")[0], prompts)
    with process_restored():
        policy = load_policy(
            ModelRef(recipe.model, recipe.revision, recipe.adapter),
            dtype=recipe.dtype,
            quantization=recipe.quantization,
            device_map=recipe.device_map,
            trust_remote_code=recipe.trust_remote_code,
        )
        measured = mean_kl(policy, requests, max_new_tokens)
    facts = {"kl": measured.value, "tokens": measured.tokens, "prompts": len(requests)}
    write_atomic(here / _KL, json.dumps(facts, indent=2) + "\n")


def _measured(folder: Path, chain: Chain, number: int, kept: int) -> Round:
    """What came of a round.

    Args:
        kept: the round that was kept before; 0 is what the chain began with.
    """
    here = folder / f"round-{number}"
    key = _key(chain)
    value = _value(Results.read(here / "evaluate"), ADAPTER, key)
    best, difference = _best(folder, chain, number, kept)
    training = read_manifest(here / "train")
    kl = json.loads(read_text(here / _KL))["kl"] if (here / _KL).is_file() else None
    return Round(
        number,
        training["counts"]["rows"],
        training["steps"],
        value,
        kept,
        difference,
        kl,
        chain.settings.rule.outcome(value, best, difference, kl),
    )


def _best(folder: Path, chain: Chain, number: int, kept: int) -> tuple[Value, Difference | None]:
    """The metric of what was kept before a round, and the paired difference that the round made."""
    from mmpref.bench.compare import difference_of
    from mmpref.bench.finished_model import read_finished

    here, key = folder / f"round-{number}" / "evaluate", _key(chain)
    if not kept and chain.start() is None:
        results = Results.read(here)
        return _value(results, BASE, key), results.differences_by_key().get(key)
    before = folder / f"round-{kept}" / "evaluate" if kept else start_folder(folder)
    first, second = (next(model for model in read_finished([run]) if model.model == ADAPTER) for run in (before, here))
    return first.values[key], difference_of(first, second, key)


def _key(chain: Chain) -> Key:
    benchmark, _, metric = chain.settings.metric.partition("/")
    return Key(chain.recipe.dev.label(benchmark), metric, ALL)


def _value(results: Results, model: str, key: Key) -> Value:
    """A metric; of a judged one, whoever the judge is.

    Raises:
        RunError: there is none.
    """
    values = results.by_key(model)
    if key not in values:
        raise RunError(f"The evaluation has no {key.name} of the {model}.", "Name another --metric.")
    return values[key]


def _metrics(recipe: EvaluateRecipe, benchmark: str) -> dict[str, bool | None]:
    """The metrics of a benchmark that a round can be chosen by, and whether more of each is better."""
    from mmpref.bench.benchmark import BENCHMARKS
    from mmpref.bench.while_training import PeriodicEvaluator

    if BENCHMARKS.get(benchmark).judged or BENCHMARKS.get(benchmark).rewards:
        raise UsageError(
            f"{benchmark} is scored by a judge or a reward model, whose numbers choose no round.",
            "Give another --metric; the benchmark can be evaluated all the same.",
        )
    return PeriodicEvaluator([benchmark], recipe.benchmark, split=recipe.split, limit=recipe.limit).metrics()


def shared_questions(chain: Chain) -> dict[str, int]:
    """Of each benchmark that is reported on, how many of its questions choose the round; a warning names those."""
    from mmpref.bench import chosen_on
    from mmpref.bench.evaluate import load_data

    key, shared = _key(chain), {}
    choose = next(plan.samples for plan in load_data(chain.recipe.dev) if plan.label == key.benchmark)
    for plan in load_data(chain.recipe.test):
        if again := chosen_on.shared_questions(choose, plan.samples):
            shared[plan.label] = again
            logger.warning(
                "Warning: %s of %s, which is reported on in the end, are among those that choose the round. What is "
                "chosen by its test data looks better than it is: keep them apart.",
                f"{again:,} of the {counted(len(plan.samples), 'question')}",
                plan.label,
            )
    return shared


def _finish(
    run: Run,
    chain: Chain,
    rounds: list[Round],
    shared: Mapping[str, int],
    write_card: WriteCard | None,
    progress: bool,
) -> dict[str, Any]:
    """Evaluate the round that is kept on the data to report on, and write the manifest.

    Args:
        shared: of these data, how many questions chose the round.
    """
    kept = kept_of(rounds)
    if kept:
        logger.info("Round %d is kept: evaluating it on the data to report on ...", kept)
        call = chain.test(run.path / f"round-{kept}" / "train")
        with in_section(chain.name, "evaluate"):
            run_evaluate(call.resolved(), test_folder(run.path, kept), progress=progress)
    dev = Results.read(run.path / "round-1" / "evaluate")
    key, last = _key(chain), rounds[-1]
    reason = (
        chain.settings.rule.reason_to_stop(rounds) or f"{counted(last.number, 'round was', 'rounds were')} asked for"
    )
    facts = {
        "model": read_manifest(run.path / "round-1" / "train")["model"],
        "method": chain.recipe.build.method,
        "trained_by": chain.recipe.train.method,
        "metric": chain.settings.metric,
        "rule": chain.settings.rule.text,
        "base": _value(dev, BASE, key).as_dict(),
        **({"begun": _begun(run.path, key)} if chain.start() else {}),
        "rounds": [one.as_dict() for one in rounds],
        "kept": kept,
        "stopped": reason,
        "chosen_on": dev.asked[key.benchmark].as_dict(),
        "reported_on": _asked(test_folder(run.path, kept)) if kept else {},
        **({"shared_questions": dict(shared)} if shared else {}),
    }
    return run.finish(facts, write_card)


def _begun(folder: Path, key: Key) -> dict[str, Any]:
    """The adapter that the chain began with, and its metric on the data that choose."""
    evaluated = start_folder(folder)
    value = _value(Results.read(evaluated), ADAPTER, key)
    return {"adapter": read_manifest(evaluated)["adapter"], "value": value.as_dict()}


def _asked(path: Path) -> Mapping[str, Any]:
    return {name: asked.as_dict() for name, asked in Results.read(path).asked.items()}
