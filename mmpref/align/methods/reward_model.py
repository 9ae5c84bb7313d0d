"""A reward model: the VLM with a value head, trained so that chosen answers have the higher value (Bradley-Terry).

-log sigmoid(r(chosen) - r(rejected)), r being a linear head on the last hidden state of the answer's last token. The
run says how often it is right on held-out pairs (the paper's table 7). `mmpref.vlm.reward_model.RewardModel` loads it.
The learning rate is the paper's (section 4), and also the highest that it tries for a projector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmpref.align.method import Method, Rates
from mmpref.recipes.names import names

if TYPE_CHECKING:
    from mmpref.align.method import TrainerParts


@dataclass(frozen=True)
class Settings:
    """On what accuracy is measured.

    Args:
        held_out: preference sets, ``NAME`` or ``NAME:SPLIT`` (train by default), on which it is measured at the end,
            such as the ``validation`` split of the training data.
    """

    held_out: tuple[str, ...] = field(default=(), metadata=names("table"))


def _trainer(parts: TrainerParts) -> Any:
    from mmpref.align.collator import PreferenceCollator
    from mmpref.align.preference_data import with_row_numbers
    from mmpref.align.reward_trainer import RewardTrainer
    from mmpref.vlm.adapters import HEAD
    from mmpref.vlm.reward_model import add_value_head

    add_value_head(parts.policy.model)
    return RewardTrainer(
        model=parts.policy.model,
        args=parts.config,
        train_dataset=with_row_numbers(parts.pairs.dataset),
        data_collator=PreferenceCollator(parts.policy.processor),
        processing_class=parts.policy.processor,
        policy=parts.policy,
        peft_config=parts.lora([HEAD]),
        projector_learning_rate=parts.projector_learning_rate,
        shared=parts.share(),
        held_out=parts.settings.held_out,
        folder=parts.scratch,
        image_root=parts.image_root,
    )


METHOD = Method(Settings, lambda _: {}, build=_trainer, continues=True, rates=Rates(2e-5, 2e-5), tags=("preference",))
