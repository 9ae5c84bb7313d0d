"""TRL's `RLOOTrainer` on images and prompts, and where its rewards come from."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from trl import RLOOTrainer

from mmpref.align.adapter import as_loaded
from mmpref.align.collator import ANSWER_TOKEN_TYPE, PreferenceCollator
from mmpref.align.served_policy import merged_weights
from mmpref.align.trainer_mixin import ResumableTrainerMixin
from mmpref.errors import ModelError, UsageError, reason_of
from mmpref.judges.plugins import annotator_plugin
from mmpref.judges.resolve import function_of
from mmpref.rng import stream
from mmpref.run.files import write_atomic
from mmpref.types import Message, ModelRef, messages, text_of
from mmpref.vlm.preprocess import has_answer_token_type
from mmpref.vlm.transformers_pool import only_tokens

_NEVER = -100.0
"""What is added to the logit of a token that is not to be written: the least that servers take."""

if TYPE_CHECKING:
    from PIL import Image

    from mmpref.align.preference_data import Pairs
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.quantization import Placement

Reward = Callable[["Sequence[Image.Image]", Sequence[Message], Sequence[str]], Sequence[float]]
"""From the images and the prompt to the value of each answer."""


def open_reward(spec: str, model: ModelRef, placement: Placement) -> Reward:
    """Who rewards: a run of ``reward-model``, ``MODULE:FUNCTION``, or a plugin with ``reward``.

    Args:
        model: the base of a reward model.
        placement: how that is brought into memory.

    Raises:
        UsageError: the word names nobody.
        ModelError: a run that is no reward model of this base.
    """
    if module := annotator_plugin(spec, "reward"):
        reward: Reward = module.reward
        return reward
    if function := function_of(spec):
        return function
    from mmpref.origins.revisions import ref_of
    from mmpref.vlm.reward_model import RewardModel

    adapter = ref_of(spec)
    ref = ModelRef(model.model, model.revision, adapter.model, adapter.revision)
    return RewardModel.load(ref, **asdict(placement)).score


class NormalizedReward:
    """Rewards of zero mean and unit variance over the answers of the training data, as the paper has it (appendix A).

    Args:
        path: file of the mean and the deviation, which are measured once a run.
    """

    __name__ = "reward"

    def __init__(self, reward: Reward, name: str, pairs: Pairs, path: Path) -> None:
        self._reward, self.name, self._where = reward, name, pairs.where
        if not path.is_file():
            rewards = torch.tensor(
                [
                    value
                    for number, row in enumerate(pairs.dataset[index] for index in range(len(pairs.dataset)))
                    for value in self._call(
                        number,
                        row["images"],
                        messages(row["prompt"]),
                        [text_of(row["chosen"]), text_of(row["rejected"])],
                    )
                ],
                dtype=torch.float64,
            )
            if not float(rewards.std()) > 0:
                raise UsageError(
                    f"{name} gives every answer of the data the same reward.", "Name another: --set loss.reward=RUN"
                )
            write_atomic(path, json.dumps({"mean": float(rewards.mean()), "deviation": float(rewards.std())}) + "\n")
        self.scale: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))

    def __call__(
        self, prompts: list[Any], completions: list[Any], images: list[Any], row: list[int], **_: Any
    ) -> list[float]:
        """As TRL asks for rewards: answers to one prompt stand side by side."""
        rewards: list[float] = []
        for number, group in groupby(range(len(row)), key=row.__getitem__):
            places = list(group)
            answers = [text_of(completions[place]) for place in places]
            prompt = messages(prompts[places[0]])
            rewards += self._call(number, images[places[0]], prompt, answers)
        return [(value - self.scale["mean"]) / self.scale["deviation"] for value in rewards]

    def _call(self, row: int, images: Any, prompt: list[Message], answers: list[str]) -> list[float]:
        try:
            rewards = [float(value) for value in self._reward(images, prompt, answers)]
        except Exception as error:
            raise ModelError(
                f"The reward {self.name} fails on {self._where(row)}: {type(error).__name__}: {reason_of(error)}.",
                "It is called with images, prompt and answers.",
            ) from error
        if len(rewards) != len(answers):
            raise ModelError(f"The reward {self.name} gives {len(rewards)} values for {len(answers)} answers.")
        if invalid := next((value for value in rewards if not math.isfinite(value)), None):
            raise ModelError(
                f"The reward {self.name} gives {invalid} as the value of an answer.", "It must be a finite number."
            )
        return rewards


class RlooTrainer(ResumableTrainerMixin, RLOOTrainer):
    """Sampling, rewards' baseline and loss are TRL's; it suppresses image tokens in what is sampled."""

    shared = None

    def __init__(self, *args: Any, policy: Policy, projector_learning_rate: float, **kwargs: Any) -> None:
        self.collate = PreferenceCollator(policy.processor)
        super().__init__(*args, **kwargs)
        # TRL names temperature, top_p and top_k; `generate` would take all else from the model's own settings.
        policy.base_model.generation_config = only_tokens(policy.base_model.generation_config)
        if self.use_vllm:
            self.vllm_generation._iter_named_params = partial(merged_weights, policy.base_model)
        else:
            self.generation_config.suppress_tokens = sorted(policy.suppressed_ids)
        self.set_up(policy, projector_learning_rate)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's; the policy writes as it will be loaded. A server is told what never to write, and a seed."""
        if self.use_vllm:
            assert self.policy is not None
            self.vllm_generation.generation_kwargs = {
                **(self.args.generation_kwargs or {}),
                "logit_bias": {str(token): _NEVER for token in sorted(self.policy.suppressed_ids)},
                "seed": int(stream(self.args.seed, self.state.global_step, "rloo").integers(2**31)),
            }
        with as_loaded(self.accelerator.unwrap_model(self.model)):
            return super()._generate_single_turn(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's, which gives answers the token type of prompts."""
        assert self.policy is not None
        kwargs = inputs_for_trl(kwargs, str(self.policy.ref))
        types, size = kwargs.get("token_type_ids"), args[3] if len(args) > 3 else kwargs["logits_to_keep"]
        if types is not None and has_answer_token_type(self.processing_class):
            kwargs["token_type_ids"] = torch.cat(
                [types[:, :-size], torch.full_like(types[:, -size:], ANSWER_TOKEN_TYPE)], 1
            )
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    def facts(self) -> dict[str, Any]:
        """Who rewards, and what the rewards are normalised by."""
        reward = self.reward_funcs[0]
        return {"reward": {"name": reward.name, **reward.scale}}


def inputs_for_trl(given: dict[str, Any], model: str) -> dict[str, Any]:
    """What TRL's trainer takes of the named arguments that it is called with; some are whatever a processor made.

    Args:
        given: ``batch_num_images``, how many images each row has, among them where the processor counts these.
        model: what it is called, for errors.

    Raises:
        ModelError: the model needs something that TRL does not hand on to it.
    """
    counts = given.get("batch_num_images")
    # LLaVA-OneVision's; without it the model takes every row for one of one image, whose tiles it unpacks.
    one_each = counts is not None and set(map(int, counts)) == {1}
    unneeded = {"labels", *(["batch_num_images"] if one_each else [])}  # labels are of prompts
    kept = {name: value for name, value in given.items() if name not in unneeded}
    accepted = inspect.signature(RLOOTrainer._get_per_token_logps_and_entropies).parameters
    if lost := sorted(kept.keys() - accepted.keys()):
        why = " on rows of several images" if lost == ["batch_num_images"] else ""
        raise ModelError(
            f"rloo cannot train {model}{why}: TRL's trainer does not hand on {', '.join(lost)}, which it needs.",
            "Use --method online-dpo, or another model.",
        )
    return kept


def refuse_lost_inputs(policy: Policy, pairs: Pairs) -> None:
    """See before any work whether TRL's trainer hands on all that the model needs of the row with the most images.

    Raises:
        ModelError: as `inputs_for_trl`.
    """
    import pyarrow.compute as pc

    images = pc.list_value_length(pairs.dataset.data.column("images")).to_numpy()
    row = pairs.dataset[int(images.argmax())]
    prepared = policy.prompter.prepare(messages(row["prompt"]), row["images"])
    made = {name: value for name, value in prepared.items() if name not in ("input_ids", "attention_mask")}
    inputs_for_trl(made, str(policy.ref))


def prompt_dataset(pairs: Pairs) -> Any:
    """The data as TRL's trainer wants it: images, prompt, and the row's number."""
    from mmpref.align.preference_data import with_row_numbers

    return with_row_numbers(pairs.dataset).remove_columns(["chosen", "rejected"])
