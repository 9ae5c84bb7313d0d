"""A row's own pair, with probability p, or else two samples ranked by an annotator (the paper's mixed-DPO, eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.align.loss_settings import loss_options, loss_reward
from mmpref.align.method import Method
from mmpref.align.pair_source import Row, SampledPairs, SourceContext
from mmpref.align.preference_data import ROW
from mmpref.align.ranked_source import RankedSettings, RankedSource
from mmpref.errors import UsageError
from mmpref.rng import stream


@dataclass(frozen=True)
class Settings(RankedSettings):
    """As online-dpo's.

    Args:
        offline: p, the probability of taking the pair of the data; sampled for each row and step.
    """

    offline: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.offline <= 1:
            raise UsageError(f"loss.offline is {self.offline}; it must lie between 0 and 1.", "The paper's is 0.5.")


class MixedSource:
    """Offline pairs and online ones in one batch."""

    def __init__(self, context: SourceContext, settings: Settings) -> None:
        self._ranked, self._seed, self._offline = RankedSource(context, settings), context.seed, settings.offline

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        offline = {
            int(row[ROW]) for row in rows if stream(self._seed, step, int(row[ROW]), "mixed").random() < self._offline
        }
        online = self._ranked([row for row in rows if int(row[ROW]) not in offline], step)
        sampled = {int(row[ROW]): row for row in online.rows}
        mixed = [
            row if int(row[ROW]) in offline else sampled[int(row[ROW])]
            for row in rows
            if int(row[ROW]) in offline or int(row[ROW]) in sampled
        ]
        counts = {**online.counts, "rows": len(rows), "offline": len(offline), "used": len(mixed)}
        return SampledPairs(mixed, counts)


METHOD = Method(
    Settings,
    loss_options,
    reward=loss_reward,
    source=MixedSource,
    needs_annotator=True,
    annotator_instruction=lambda settings: settings.instruction,
)
