"""A training that came to its end: what the manifest says of it, while its model is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.align.checkpoints import checkpoints_folder
from mmpref.align.recipe import Evaluator, TrainRecipe, watched_by
from mmpref.align.summary import length_facts
from mmpref.distributed import num_processes
from mmpref.run.directory import Run

if TYPE_CHECKING:
    from mmpref.align.eval_callback import EvalCallback
    from mmpref.align.preference_data import Pairs
    from mmpref.align.preflight import RowLength
    from mmpref.align.trainer_mixin import ResumableTrainerMixin
    from mmpref.vlm.policy import Policy

SCRATCH = "training"
"""In a run's state: the folder of what only a restart needs. It is dropped when the run has finished."""
BEGAN = f"{SCRATCH}/began"
"""The commits of data, model and adapter that a restart must go on with; of a model's folder what it held."""
EMBEDDERS = f"{SCRATCH}/embedders"
"""The commits of the models that measure similarity, as a restart must go on with them."""
ASKED = f"{SCRATCH}/asked"
"""Those of the models that are asked, for a rank or a reward."""


@dataclass(frozen=True)
class Fitted:
    """A training that came to its end, and its model.

    Args:
        options: those of TRL's configuration.
        modules: how many are adapted, by part of the model; none where it is trained in full.
        parameters: how many there are and how many are trained, by part.
        lengths: of rows, in tokens.
        evaluations: those while it trained, if there are any.
        trackers: names of those that watched it.
    """

    trainer: ResumableTrainerMixin
    options: dict[str, Any]
    modules: Mapping[str, int]
    parameters: Mapping[str, int]
    lengths: Sequence[RowLength]
    evaluations: EvalCallback | None
    trackers: Sequence[str]


def facts_of(
    run: Run, recipe: TrainRecipe, policy: Policy, pairs: Pairs, fitted: Fitted, evaluate: Evaluator | None
) -> dict[str, Any]:
    """What the manifest says of a training."""
    import torch

    from mmpref.align import trackers
    from mmpref.align.served_policy import server_facts
    from mmpref.judges.pinned import annotator_facts
    from mmpref.sampling.embedders import embedder_facts
    from mmpref.sampling.settings import sampling_facts
    from mmpref.vlm.decoding import generation_config_values
    from mmpref.vlm.kernels import attention_of
    from mmpref.vlm.quantization import bitsandbytes_arguments

    trainer, evaluations, scratch = fitted.trainer, fitted.evaluations, run.state / SCRATCH
    watched: dict[str, Any] = {}
    if evaluations:
        watched = {
            "evaluations": evaluations.rows,
            "best": evaluations.best(),
            "watched": {name: asked.as_dict() for name, asked in watched_by(evaluate).items()},
        }
    tracked = fitted.trackers and trackers.facts(fitted.trackers, scratch, run.path, checkpoints_folder(scratch))
    return {
        **_model_facts(run, recipe.model),
        "modules": fitted.modules,
        **({"mended": policy.mended} if policy.mended else {}),
        "parameters": fitted.parameters,
        **({"quantization": bitsandbytes_arguments(policy.base_model)} if recipe.quantization else {}),
        "lengths": length_facts(fitted.lengths, policy),
        "steps": trainer.state.global_step,
        **watched,
        "threads": torch.get_num_threads(),
        "processes": num_processes(),
        "prompt_shared": trainer.shared is not None,
        "attention": trainer.shared.kernels if trainer.shared else attention_of(policy.decoder),
        **({"annotator": {"name": recipe.annotator}} if recipe.annotator else {}),
        **embedder_facts(run, EMBEDDERS),
        **annotator_facts(run, ASKED),
        **pairs.weight_facts(),
        **sampling_facts(recipe.loss, generation_config_values(policy.base_model.generation_config)),
        **server_facts(recipe.loss.get("server")),
        **trainer.facts(),
        **({"trackers": tracked} if fitted.trackers else {}),
        "trainer": fitted.options,
    }


def _model_facts(run: Run, model: str) -> dict[str, Any]:
    """What a model's folder held when the run began; nothing of a model of the Hub."""
    from mmpref.vlm.base_weights import folder_weights

    began = run.pinned(BEGAN)
    weights = began["weights"] if "weights" in began else folder_weights(model)  # a run of before pinned none
    known = {"model_weights": weights, "model_files": began.get("files")}
    return {name: files for name, files in known.items() if files}
