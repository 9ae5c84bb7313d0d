"""The work of one step or job, in whichever process: bases, pairs, adapters, and what is measured of a model."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.api.build import build_dataset, run_build
from mmpref.api.evaluate import evaluate, run_evaluate
from mmpref.api.models import load_policy
from mmpref.api.state import process_restored
from mmpref.api.train import run_train
from mmpref.bench.evaluate import load_data
from mmpref.bench.first_requests import first_requests
from mmpref.bench.records import read_records
from mmpref.bench.trained_on import shared_images
from mmpref.data.builder import BUILDERS
from mmpref.errors import RunError, UsageError
from mmpref.origins.revisions import training_images_of
from mmpref.run.manifest import read_manifest
from mmpref.run.results import ADAPTER, BASE, Key, Results, Value
from mmpref.run.results_text import FEW_UNREAD
from mmpref.study import steps
from mmpref.study.bases import Bases
from mmpref.study.measurement import ImageCounts, Measurement, MetricValue
from mmpref.study.plan_types import KlPrompts
from mmpref.study.steps import Job, Step
from mmpref.text_files import read_text

if TYPE_CHECKING:
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.vlm.policy import Policy

_LOADING = ("revision", "dtype", "quantization", "device_map", "trust_remote_code")

Measured = tuple[list[Measurement], list[list[str]]]
"""Measurements, and the lists of image ids that their counts are of."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch works with one thread, as in every process of a study: sums in another order would be other digits."""
    import torch

    with process_restored():
        torch.set_num_threads(1)
        yield


def trainer_of(bases: Bases) -> Callable[..., Any]:
    """The function that trains bases.

    Raises:
        UsageError: there is none.
    """
    try:
        train: Callable[..., Any] = pkgutil.resolve_name(bases.trained_by or "")
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"bases.trained_by is {bases.trained_by!r}, which is not there ({error}).") from error
    return train


def do(step: Step, bases: Bases) -> None:
    """Do a step whose needs are done; where it was begun, go on."""
    with one_thread():
        if step.command == steps.BASE:
            _train_base(step, bases)
            return
        assert step.call is not None
        recipe = step.call.resolved()
        if step.command == "train":
            _base_policy.cache_clear()  # an accelerator may have no room for it beside the one that is trained
            run_train(recipe, step.call.recipe, step.folder, progress=False)
        elif BUILDERS.get(recipe.method).uses_model:
            build_dataset(model=_base_policy(*_loading(recipe)), recipe=recipe, output=step.folder, progress=False)
        else:
            run_build(recipe, step.folder, progress=False)


def _train_base(step: Step, bases: Bases) -> None:
    unfinished = step.folder.with_name(f".{step.folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    assert step.start is not None
    trainer_of(bases)(seed=step.start.seed, output=unfinished, **bases.options_of(step.start.world))
    if not (unfinished / "config.json").is_file():
        raise RunError(f"{bases.trained_by} has left no model in the folder that it was given.")
    unfinished.rename(step.folder)


def evaluation_folder(study: Path, split: str, recipe_hash: str) -> Path:
    """Where an evaluation of a study keeps its answers (`mmpref.bench.records.read_records`).

    Args:
        study: the study's folder.
        recipe_hash: of the measurement.
    """
    return study / "evaluate" / f"{split}-{recipe_hash[:12]}"


def measure(job: Job, splits: Sequence[str], kl: KlPrompts | None, study: Path) -> Measured:
    """Evaluate a job's model on some of its evaluations.

    Args:
        kl: prompts that the KL from the base is measured on; None for none.
        study: the study's folder.
    """
    if not job.evaluations:
        return [_measured_pairs(job)], []
    with one_thread():
        measurements, images = [], []
        policy = cache(lambda: _policy(job, job.evaluations[splits[0]].resolved()))
        seconds = {
            command: float(read_manifest(step.folder)["seconds"])
            for command, step in (("build", job.pairs), ("train", job.training))
            if step is not None
        }
        for split in splits:
            recipe = job.evaluations[split].resolved()
            folder = evaluation_folder(study, split, job.hashes[split])
            results, model = _evaluate(recipe, folder, policy, job.training is not None)
            found = _counts(folder, model, [recipe.label(name) for name in recipe.benchmarks])
            images += [ids for _, ids in found.values()]
            measurements.append(
                Measurement(
                    row=job.row,
                    split=split,
                    base=job.base,
                    seed=job.seed,
                    point=job.point,
                    is_grid_point=job.is_grid_point,
                    outside=job.outside,
                    recipe_hash=job.hashes[split],
                    values=tuple(_metric_value(key, value) for key, value in results.by_key(model).items()),
                    counts={name: counts for name, (counts, _) in found.items()},
                    training=_training_facts(job.training) if job.training else {},
                    data=_pair_facts(job.pairs) if job.pairs else {},
                    trained_on=_trained_on(job.training, recipe) if job.training else {},
                    seconds={**seconds, "evaluate": float(read_manifest(folder)["seconds"])},
                )
            )
        if kl is not None and job.training and model == BASE:
            divergence = _divergence(policy(), kl, job)
            measurements = [dataclasses.replace(one, kl=divergence) for one in measurements]
        return measurements, images


def _metric_value(key: Key, value: Value) -> MetricValue:
    unread = value.unread_share if value.unread_share > FEW_UNREAD else 0.0
    return MetricValue(key, value.value, value.n, value.higher_is_better, value.of, unread)


def _measured_pairs(job: Job) -> Measurement:
    """Of pairs that nobody trains on."""
    assert job.pairs is not None
    return Measurement(
        row=job.row,
        split=steps.PAIRS,
        base=job.base,
        seed=job.seed,
        recipe_hash=job.hashes[steps.PAIRS],
        data=_pair_facts(job.pairs),
        seconds={"build": float(read_manifest(job.pairs.folder)["seconds"])},
    )


def _evaluate(recipe: EvaluateRecipe, folder: Path, policy: Callable[[], Policy], adapted: bool) -> tuple[Results, str]:
    """The results, and the model of them that was meant.

    A base has been measured by itself, so that an adapter is evaluated as the model that it makes of it.
    """
    from mmpref.bench.reward_answerer import asks_reward_model

    if asks_reward_model(recipe.benchmarks):
        return run_evaluate(recipe, folder, progress=False).results, ADAPTER
    own = dataclasses.replace(recipe, adapter=None, adapter_revision=None, revision=None)
    model = (policy().model, policy().processor) if adapted else policy()
    return evaluate(model=model, recipe=own, output=folder, progress=False).results, BASE


def _policy(job: Job, recipe: EvaluateRecipe) -> Policy:
    model, loading = _loading(recipe)
    if job.training is None:
        return _base_policy(model, loading)
    return load_policy(model, adapter=str(job.training.folder), **dict(loading))


def _loading(recipe: Any) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """A recipe's model, and how it is loaded."""
    return recipe.model, tuple((name, getattr(recipe, name)) for name in _LOADING)


@lru_cache(maxsize=1)
def _base_policy(model: str, loading: tuple[tuple[str, Any], ...]) -> Policy:
    """Loaded once for all steps on it that follow each other."""
    return load_policy(model, **dict(loading))


def _counts(folder: Path, model: str, labels: Sequence[str]) -> dict[str, tuple[ImageCounts, list[str]]]:
    found = {}
    for label in labels:
        records = read_records(folder, model, label)
        counts = (None if one.missing else one.counts for one in records)
        found[label] = ImageCounts.collect((one.image_id for one in records), counts)
    return found


def _training_facts(step: Step) -> dict[str, float]:
    manifest = read_manifest(step.folder)
    return {"steps": manifest["steps"], "rows": manifest["counts"]["rows"], **manifest["final"]}


def _trained_on(step: Step, recipe: EvaluateRecipe) -> dict[str, int]:
    """As `Measurement` has it; an evaluation of what an adapter makes of its base does not know the adapter."""
    trained = training_images_of(str(step.folder), None)
    plans = load_data(recipe) if trained else []
    shared = {plan.label: shared_images(trained, plan.samples)[0] for plan in plans}
    return {label: images for label, images in shared.items() if images}


def _pair_facts(step: Step) -> dict[str, float]:
    report = json.loads(read_text(step.folder / "report.json"))
    # Pairs of a version that had one share called it so.
    resolved = {entry["try"]: entry.get("share_of_tried", entry.get("share")) for entry in report["resolved"]}
    facts = {
        "pairs": report["rows"],
        "differing_words": report["differing_words"]["mean"],
        "length_ratio": report["length_bias"]["ratio"],
        "similarity": report["similarity"]["mean"],
        "resolved_first": next(iter(resolved.values()), None),
        "resolved": max(resolved.values(), default=None),
        **{f"resolved_{attempt}": share for attempt, share in resolved.items()},
    }
    return {name: value for name, value in facts.items() if value is not None}


def _divergence(policy: Policy, kl: KlPrompts, job: Job) -> float:
    from mmpref.sampling.kl import mean_kl

    requests, max_new_tokens = first_requests(job.kl_call.resolved(), kl.benchmark, kl.prompts)  # type: ignore[union-attr]
    return mean_kl(policy, requests, max_new_tokens).value
