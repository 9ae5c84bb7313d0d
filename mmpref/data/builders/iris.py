"""IRIS: own answers, sifted by the implicit reward of a model that was aligned before (arXiv 2602.01769).

Of IRIS is the idea: a policy that preference training has changed is its own judge, by DPO's implicit reward, so that
neither an annotator nor another model is asked. The model with ``adapter`` (what `mmpref train` wrote) samples answers
to each prompt, and an answer's reward is its log-probability under that policy less that under the model without the
adapter, in nats (DPO's beta scales all rewards alike, and is left out). Chosen is the answer with the highest reward,
rejected that with the lowest, where at least ``min_margin`` lies between them. Details, such as whole answers, what the
prompt format writes around them left out and which pairs are sifted away, are ours. ``margin`` is the difference of
rewards. The source's answers are not used. Reasons for a skip: ``one-answer`` and ``tie`` (the difference is too
small).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._own import Pick, SampledSettings, SamplingWorker
from mmpref.errors import UsageError
from mmpref.recipes.names import names
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings(SampledSettings):
    """Settings of sifting.

    Args:
        adapter: the folder or Hub id of an adapter that was trained on preferences from the run's model; needed.
        min_margin: reward between chosen and rejected, in nats.
        per_token: rewards of a token in the mean, instead of their sum, which favours neither long nor short answers.
    """

    adapter: str | None = field(default=None, metadata=names("adapter"))
    min_margin: float = 0.0
    per_token: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapter is None:
            raise UsageError(
                "The method iris needs an adapter that was trained on preferences: its reward is what that changed.",
                "Train one from --model with mmpref train: --set builder.adapter=RUN",
            )
        if not 0 <= self.min_margin < math.inf:
            raise UsageError(f"builder.min_margin is {self.min_margin}; it must be at least 0.")


class _Worker(SamplingWorker):
    method = "iris"

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self.settings, self.policy = settings, context.policy()

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        samples = self.samples(block)
        rewards = iter(self.rewards([(one, text) for one, each in zip(block, samples, strict=True) for text in each]))
        return self.pairs(
            [
                (example, self._pick(example, [(next(rewards), answer) for answer in each]))
                for example, each in zip(block, samples, strict=True)
            ]
        )

    def rewards(self, answers: Sequence[tuple[Example, str]]) -> list[float]:
        """The implicit reward of each answer to its example, in nats."""
        from mmpref.sampling.logprobs import Score, log_probs, own_tokens
        from mmpref.vlm.encode import encode

        written = [own_tokens(self.policy, one.prompt, len(one.images), text) for one, text in answers]
        tokens, firsts = [ids for ids, _ in written], [first for _, first in written]
        examples = {example.id: example for example, _ in answers}
        inputs = [self.policy.prompter(example) for example in examples.values()]

        def scored() -> list[Score]:
            # The adapter may have its own copy of the projector, so images are encoded anew.
            prompts = dict(zip(examples, encode(self.policy, inputs) if inputs else [], strict=True))
            return log_probs(self.policy, [prompts[example.id] for example, _ in answers], tokens, firsts)

        aligned = scored()
        with self.policy.without_adapter():
            base = scored()
        return [
            after.mean - before.mean if self.settings.per_token else after.total - before.total
            for after, before in zip(aligned, base, strict=True)
        ]

    def _pick(self, example: Example, rated: Sequence[tuple[float, str]]) -> Pick | Skip:
        if len(rated) < 2:
            return self.one_answer(example)
        best, worst = (most(rated, key=lambda one: one[0]) for most in (max, min))
        margin = best[0] - worst[0]
        enough = margin > 0 and margin >= self.settings.min_margin
        return (best[1], worst[1], margin) if enough else Skip(example.id, "tie")


BUILDER = Builder(
    config=lambda: Settings,
    worker=_Worker,
    writes_chosen=True,
    adapter=lambda settings: settings.adapter,
    model_settings=("similarity_model",),
)
