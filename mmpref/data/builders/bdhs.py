"""BDHS: the model's own language bias, provoked by hiding image tokens, writes rejected answers (arXiv 2407.02477)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmpref.data.builder import CUT_OFF, Builder, Context, Pilot
from mmpref.data.builders._generated import PolicyWorker
from mmpref.sampling.settings import AUTO, BdhsSettings
from mmpref.types import Example, Pair, Skip

if TYPE_CHECKING:
    from mmpref.sampling.bdhs import Rejected

_SHOW_MORE = "--rho-th=auto tries how many this model needs; --visible-tokens=NUMBER says it."


class BdhsWorker(PolicyWorker):
    """A block worker on the BDHS sampler.

    Args:
        method: the name in the pairs' provenance.
    """

    def __init__(self, context: Context, settings: BdhsSettings, method: str = "bdhs") -> None:
        from mmpref.sampling.bdhs import BdhsSampler

        super().__init__(context, settings)
        self.method = method
        self.sampler = BdhsSampler(self.policy, self.similarity, settings, context.seed, self.ahead, _SHOW_MORE)

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        return [self._pair(example, rejected) for example, rejected in zip(block, self.sampler(block), strict=True)]

    def _pair(self, example: Example, rejected: Rejected) -> Pair | Skip:
        self.counts.add({"tries": rejected.iterations, "tries_cut_off": rejected.cut_tries})
        if rejected.image_tokens:
            self.counts.add(
                {
                    "masked_rows": 1,
                    "rho_th": rejected.rho_th,
                    "visible_tokens": (1 - rejected.rho_th) * rejected.image_tokens,
                    "image_tokens": rejected.image_tokens,
                }
            )
        if rejected.cut_off and not self.sampler.settings.keep_cut_off:
            return Skip(example.id, CUT_OFF)
        return Pair(example, rejected.answer, self.method, rejected.similarity, rejected.iterations, self.seed)


def masking_report(notes: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, float]]:
    """``masking``: rho_th, visible tokens and image tokens, each the mean over rows."""
    means = ("rho_th", "visible_tokens", "image_tokens")
    rows = notes.get("masked_rows", 0)
    left = {name: count for name, count in notes.items() if name not in (*means, "masked_rows")}
    return ({"masking": {name: round(notes[name] / rows, 6) for name in means}} if rows else {}), left


def _rows_to_choose_by(settings: BdhsSettings) -> int:
    if settings.rho_th != AUTO:
        return 0
    from mmpref.sampling.rho import ROWS

    return ROWS


def _choose_rho(
    context: Context, settings: BdhsSettings, examples: Sequence[Example]
) -> tuple[dict[str, Any], dict[str, Any]]:
    from mmpref.sampling.rho import choose_rho
    from mmpref.sampling.similarity import load_similarity

    similarity = load_similarity(settings.similarity_model)
    choice = choose_rho(context.policy(), similarity, settings, context.seed, examples)
    return choice.settings, {"rho_auto": choice.as_plain()}


BUILDER = Builder(
    config=lambda: BdhsSettings,
    worker=BdhsWorker,
    model_settings=("similarity_model",),
    tries=lambda settings: (settings.iterations, settings.similarity_threshold),
    pilot=Pilot(_rows_to_choose_by, _choose_rho),
    report=masking_report,
    served=lambda _: "this method hides image tokens inside the model",
)
