"""For each row the pair of the data, with probability p, or two samples ranked by an annotator (the paper's eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.align.losses import options
from mmpref.align.method import Method
from mmpref.align.pair_source import Drawn, Row, SourceContext
from mmpref.align.preference_data import ROW
from mmpref.align.ranked_source import Ranked, RankedSettings
from mmpref.errors import UsageError
from mmpref.rng import stream


@dataclass(frozen=True)
class Settings(RankedSettings):
    """As online-dpo's.

    Args:
        offline: p, the probability of taking the pair of the data; drawn for each row and step.
    """

    offline: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.offline <= 1:
            raise UsageError(f"loss.offline is {self.offline}; it must lie between 0 and 1.", "The paper's is 0.5.")


class Mixed:
    """Offline pairs and online ones in one batch."""

    def __init__(self, context: SourceContext, settings: Settings) -> None:
        self._ranked, self._seed, self._offline = Ranked(context, settings), context.seed, settings.offline

    def __call__(self, rows: Sequence[Row], step: int) -> Drawn:
        kept = {
            int(row[ROW]) for row in rows if stream(self._seed, step, int(row[ROW]), "mixed").random() < self._offline
        }
        online = self._ranked([row for row in rows if int(row[ROW]) not in kept], step)
        made = {int(row[ROW]): row for row in online.rows}
        mixed = [
            row if int(row[ROW]) in kept else made[int(row[ROW])]
            for row in rows
            if int(row[ROW]) in kept or int(row[ROW]) in made
        ]
        counts = {**online.counts, "rows": len(rows), "offline": len(kept), "used": len(mixed)}
        return Drawn(mixed, counts)


METHOD = Method(Settings, options, source=Mixed, needs_annotator=True)
