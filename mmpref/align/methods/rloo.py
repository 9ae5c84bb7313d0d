"""RLOO: k samples of the policy a prompt, each rewarded against the others' mean (arXiv 2402.14740; TRL's trainer).

``loss.reward`` is a run of ``reward-model``, ``MODULE:FUNCTION`` (images, prompt, answers -> values) or a plugin of
`mmpref list annotators`. Rewards are brought to zero mean and unit variance over the answers of the training data. The
learning rate is the paper's (section 4); the projector, trained in full, has the highest that it tries for one.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmpref.align.method import Method, Rates
from mmpref.errors import UsageError
from mmpref.recipes.names import names
from mmpref.recipes.schema import OPTIONAL

if TYPE_CHECKING:
    from mmpref.align.method import TrainerParts


@dataclass(frozen=True)
class Settings:
    """The paper's values.

    Args:
        reward: who rewards.
        samples: k, answers to each prompt; a batch's rows are answers.
        temperature: of sampling.
        kl: coefficient of the divergence from the base model.
        max_answer_tokens: bound on an answer's length.
        server: ``URL#MODEL`` of a vLLM server that writes the answers, with the policy's weights, which are sent there
            before every step (`mmpref.align.served_policy`); without one the model writes them itself.
    """

    reward: str = field(default="", metadata=names("annotator"))
    samples: int = 4
    temperature: float = 1.0
    kl: float = 0.4
    max_answer_tokens: int = 512
    server: str | None = field(default=None, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        if not self.reward:
            raise UsageError("The method rloo needs to know who rewards.", "Name it: --set loss.reward=RUN")
        if self.samples < 2:
            raise UsageError(f"loss.samples is {self.samples}; it must be at least 2.")
        if not self.temperature > 0 or not self.kl >= 0 or self.max_answer_tokens < 1:
            raise UsageError(
                "loss.temperature must be above 0, loss.kl at least 0 and loss.max_answer_tokens at least 1."
            )


def _options(settings: Settings) -> dict[str, Any]:
    from mmpref.align.served_policy import server_root

    return {
        "use_vllm": settings.server is not None,
        "vllm_mode": "server",
        "vllm_server_base_url": server_root(settings.server) if settings.server else None,
        "num_generations": settings.samples,
        "temperature": settings.temperature,
        "beta": settings.kl,
        "max_completion_length": settings.max_answer_tokens,
    }


def _config() -> type[Any]:
    from trl import RLOOConfig

    return RLOOConfig


def _trainer(parts: TrainerParts) -> Any:
    from mmpref.align.rloo_trainer import (
        NormalizedReward,
        RlooTrainer,
        open_reward,
        prompt_dataset,
        refuse_lost_inputs,
    )
    from mmpref.align.served_policy import client_errors

    settings: Settings = parts.settings
    refuse_lost_inputs(parts.policy, parts.pairs)
    reward = open_reward(settings.reward, parts.policy.ref, parts.policy.placement)
    normalized = NormalizedReward(reward, settings.reward, parts.pairs, parts.scratch / "reward.json")
    with client_errors(settings.server, connecting=True) if settings.server else nullcontext():
        return RlooTrainer(
            model=parts.policy.model,
            args=parts.config,
            train_dataset=prompt_dataset(parts.pairs),
            reward_funcs=normalized,
            processing_class=parts.policy.processor,
            peft_config=parts.lora(),
            policy=parts.policy,
            projector_learning_rate=parts.projector_learning_rate,
        )


METHOD = Method(
    Settings,
    _options,
    config=_config,
    build=_trainer,
    shares_prompt=False,
    rates=Rates(3e-4, 2e-5),
    tags=("reinforcement-learning",),
)
