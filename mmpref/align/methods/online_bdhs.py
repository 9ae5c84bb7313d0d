"""BDHS from the current policy at every step, alone or averaged with the data's rejected answers (the paper's table 6).

The chosen answers are the data's. No annotator is asked: the policy's own bias writes what it is trained away from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpref.align.loss_settings import AveragedSettings, loss_options, loss_reward
from mmpref.align.method import Method
from mmpref.align.pair_source import Row, SampledPairs, SourceContext, with_policy_rejections
from mmpref.errors import UsageError
from mmpref.sampling.settings import AUTO, BdhsSettings

_SHOW_MORE = "--set loss.bdhs.visible_tokens=NUMBER says how many are to stay visible."


@dataclass(frozen=True)
class Settings(AveragedSettings):
    """gamma * loss(chosen, the data's rejected) + (1 - gamma) * loss(chosen, BDHS's); gamma 0 is BDHS alone.

    Args:
        bdhs: as for building a dataset: ``--set loss.bdhs.rho_th=0.98``.
    """

    gamma: float = 0.0
    bdhs: BdhsSettings = field(default_factory=BdhsSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bdhs.rho_th == AUTO:
            raise UsageError(
                "rho_th auto is for build-dataset, which has rows to try it on.",
                "Build with --rho-th=auto, and give what it chose: --set loss.bdhs.visible_tokens=NUMBER.",
            )


class OnlineBdhsSource:
    """Answers that came out empty or as the chosen one teach nothing, and those that a bound on their length cut off
    teach to stop anywhere: they are counted as ``empty``, ``same`` and ``cut_off``."""

    def __init__(self, context: SourceContext, settings: Settings) -> None:
        from mmpref.sampling.bdhs import BdhsSampler
        from mmpref.sampling.similarity import load_similarity

        self._context, self._averaged, self._keep_cut_off = context, settings.averaged, settings.bdhs.keep_cut_off
        similarity = load_similarity(settings.bdhs.similarity_model)
        self._sampler = BdhsSampler(context.policy, similarity, settings.bdhs, context.seed, advice=_SHOW_MORE)

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        examples = [self._context.example(row, step) for row in rows]
        samples = self._sampler(examples)
        completions = [None if sample.cut_off and not self._keep_cut_off else sample.answer for sample in samples]
        pairs = with_policy_rejections(rows, examples, completions, self._averaged)
        tries = sum(sample.iterations for sample in samples)
        return SampledPairs(pairs.rows, {**pairs.counts, "tries": tries})


def _needs(settings: Settings) -> tuple[str, ...]:
    return ("chosen", "rejected") if settings.averaged else ("chosen",)


METHOD = Method(
    Settings,
    loss_options,
    reward=loss_reward,
    weights=lambda settings: settings.weights,
    source=OnlineBdhsSource,
    needs=_needs,
)
