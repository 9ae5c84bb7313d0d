"""The seam of training methods: which loss the one trainer computes, and where its pairs come from.

A method is one file in `mmpref/align/methods` (or in a plugin's package under the entry-point group
``mmpref.methods``) with a module-level ``METHOD``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.registry import Registry

if TYPE_CHECKING:
    from mmpref.align.loss_settings import Terms
    from mmpref.align.pair_log_probs import Pairwise
    from mmpref.align.pair_source import PairSource, SourceContext
    from mmpref.align.preference_data import Pairs
    from mmpref.align.rewards import Reward
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.shared_prefix_forward import SharedForward


@dataclass(frozen=True)
class TrainerParts:
    """What a method that has a trainer of its own makes it of.

    Args:
        settings: the method's.
        config: TRL's configuration, of the method's class.
        lora: makes PEFT's configuration; takes the names of further modules that are trained in full. None where there
            is no adapter.
        share: the forward that runs image and prompt once for both answers, if this model allows it.
        scratch: a folder that lasts as long as the run.
        image_root: where the images of data lie, beside their own folders.
    """

    settings: Any
    config: Any
    policy: Policy
    pairs: Pairs
    lora: Callable[..., Any]
    projector_learning_rate: float
    share: Callable[[], SharedForward | None]
    scratch: Path
    image_root: tuple[str, ...] = ()


def _dpo_config() -> type[Any]:
    from trl import DPOConfig

    return DPOConfig


@dataclass(frozen=True)
class Rates:
    """Learning rates where a recipe names none; by default our pick within the paper's search ranges (appendix A).

    Args:
        learning_rate: of LoRA's parameters: ``trainer.learning_rate``.
        projector: of the projector's: ``projector_learning_rate``.
    """

    learning_rate: float = 1e-6
    projector: float = 2e-6


def _log_ratio(settings: Any) -> Reward:
    from mmpref.align.rewards import log_ratio

    return log_ratio(settings.beta)


@dataclass(frozen=True)
class Method:
    """A training method.

    Args:
        settings: frozen dataclass of the loss's and the pair source's settings, with defaults; the recipe's ``loss:``
            block.
        trainer: makes the options of TRL's configuration that the settings stand for. They are the method's: a recipe
            cannot set them again in its ``trainer:`` block.
        source: makes, from the current policy, the pairs that a step trains on; None for those of the data.
        config: gives the class of TRL's configuration; called when it is needed.
        build: makes a trainer other than the one over pairs: `mmpref.align.trainer_mixin.ResumableTrainerMixin` and one
            of TRL's.
        needs: answers of the data that the method reads; rows may lack the others.
        needs_second: rows must have a second rejected answer (``rejected_policy``).
        keeps_answers: the source leaves the answers of the data as they are, so that what the reference says of them is
            asked once.
        terms: makes more of the loss than TRL's losses over pairs, from log-ratios [B] of policy to reference of the
            chosen answer under the images and under those of the source's other pair, to terms by name.
        pairwise: makes a loss [B] of pairs that is added to those of TRL's that `trainer` names under ``loss_type``,
            which may be none; None where TRL's are all.
        reward: what the loss holds an answer to be worth, which is logged; by default DPO's, of the settings' ``beta``.
            A trainer that `build` makes logs its own.
        weights_read: columns of weights (`mmpref.align.weights`) that are read of the data, a number first.
        needs_weights: some row must have one of them.
        weigh: makes, from all rows' values of a number among them, what `pairwise` is given of each row.
        by_token: `pairwise` asks for log-probabilities by token; the reference is then asked at every step.
        distributions: and for the divergence from the reference where each token stands.
        other_images: the source makes a pair under other images of each row (`OTHER_PAIR`).
        mismatched: `pairwise` asks how far the policy is from the reference on answers to other rows.
        reference_every: steps after which the reference becomes the policy as it is then; None where it stays the base.
        weights: of the losses against the rejected answer, and against the second one where there are two.
        needs_annotator: somebody ranks answers during training (``--annotator``).
        annotator_instruction: the settings' own template for the annotator; None for the annotator's.
        continues: rows whose answers continue a context (`mmpref.types.context_of`) can be trained on; None where only
            methods cannot that let the policy write, since it writes whole answers.
        needs_context: only data with such rows are of use.
        ends: whether what ends an answer (EOS) is in the loss.
        shares_prompt: image and prompt can be run once for both answers of a pair; without pairs there is nothing to
            share.
        rates: learning rates where a recipe names none.
        tags: of cards: what such a training is searched by.
    """

    settings: type[Any]
    trainer: Callable[[Any], dict[str, Any]]
    config: Callable[[], type[Any]] = _dpo_config
    build: Callable[[TrainerParts], Any] | None = None
    needs: Callable[[Any], tuple[str, ...]] = lambda _: ("chosen", "rejected")
    needs_second: bool = False
    needs_annotator: bool = False
    annotator_instruction: Callable[[Any], str | None] = lambda _: None
    keeps_answers: bool = False
    weights: Callable[[Any], tuple[float, ...]] = lambda _: (1.0,)
    terms: Callable[[Any], Terms] | None = None
    pairwise: Callable[[Any], Pairwise | None] = lambda _: None
    reward: Callable[[Any], Reward] = _log_ratio
    weights_read: tuple[str, ...] = ()
    needs_weights: Callable[[Any], bool] = lambda _: True
    weigh: Callable[[Any, Any], Any] = lambda _, values: values
    by_token: bool = False
    distributions: bool = False
    other_images: bool = False
    mismatched: bool = False
    reference_every: Callable[[Any], int | None] = lambda _: None
    source: Callable[[SourceContext, Any], PairSource] | None = None
    continues: bool | None = None
    needs_context: bool = False
    ends: Callable[[Any], bool] = lambda _: True
    shares_prompt: bool = True
    rates: Rates = field(default_factory=Rates)
    tags: tuple[str, ...] = ("preference", "dpo")

    @property
    def takes_dpo_config(self) -> bool:
        """Whether the class of TRL's configuration is `DPOConfig`."""
        return self.config is _dpo_config

    def answers(self, settings: Any) -> tuple[str, ...]:
        """The answers that rows must have a column of: what `needs` says, and the second rejected one."""
        from mmpref.tables.rows import REJECTED_POLICY

        return (*self.needs(settings), *[REJECTED_POLICY] * self.needs_second)

    @property
    def samples_answers(self) -> bool:
        """Whether answers are sampled from the policy at every step."""
        return self.source is not None and not self.keeps_answers

    @property
    def takes_context(self) -> bool:
        """Whether it trains on answers that continue a context."""
        return self.continues if self.continues is not None else not (self.samples_answers or self.build)

    @property
    def trainer_keys(self) -> frozenset[str]:
        """The options of TRL's configuration that the settings stand for, whatever they are."""
        unchecked = object.__new__(self.settings)  # defaults alone may be refused: somebody must be named
        for name, value in self._given().items():
            object.__setattr__(unchecked, name, value)
        return frozenset(self.trainer(unchecked))

    def _given(self) -> dict[str, Any]:
        return {
            setting.name: setting.default if setting.default_factory is MISSING else setting.default_factory()
            for setting in fields(self.settings)
        }

    @property
    def defaults(self) -> dict[str, Any]:
        """What a recipe that says nothing of it takes, as it would say it."""
        loss = {
            name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
            for name, value in self._given().items()
        }
        return {
            "trainer": {"learning_rate": self.rates.learning_rate},
            "projector_learning_rate": self.rates.projector,
            "loss": loss,
        }


@dataclass(frozen=True)
class ConfiguredMethod:
    """A method with its settings."""

    method: Method
    settings: Any

    @property
    def trainer_options(self) -> dict[str, Any]:
        """The options of TRL's configuration that the settings stand for."""
        return self.method.trainer(self.settings)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the losses against the rejected answer, and against the second one where there are two."""
        return self.method.weights(self.settings)


METHODS: Registry[Method] = Registry("training method", "mmpref.methods", "METHOD")
