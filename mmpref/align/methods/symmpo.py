"""Two images, one question: each answer preferred under its own image, and by as much (SymMPO, arXiv 2506.11712).

With m = chosen log-ratio - rejected log-ratio, y the row's chosen answer and z that of its partner, the loss is the sum

* DPO's, of y to the rejected answer under the row's image,
* ``symmetric`` * (-log sigmoid(beta * m1) - log sigmoid(beta * m2)): y to z under the row's image, z to y under the
  partner's,
* ``anchor`` * (-log sigmoid(beta * log-ratio)), of y and of z each under its own image,
* ``consistency`` * (m1 - m2)^2,

as the authors' released code has it (Liuwq-bit/SymMPO `muffin/train/trainers.py`, commit a4a1a39, with both of its
betas alike; the paper's equations were not compared). A row's partner is the row beside it, if that asks the same
question of another image: ``build-dataset --method symmpo`` puts the authors' two similar images there. Else it is the
next row that does; a row that has none, or whose partner has the same answer, is left out and counted. Rewards in the
log are DPO's; margins and accuracies are means over the row's rejected answer and z.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.align.loss_settings import BetaSettings, no_trl_loss
from mmpref.align.method import Method
from mmpref.align.pair_source import Row, SampledPairs, SourceContext
from mmpref.align.preference_data import OTHER_PAIR, ROW, images_sha256
from mmpref.errors import InputError, UsageError
from mmpref.tables.rows import REJECTED_POLICY, same_answer
from mmpref.types import text_of

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise


@dataclass(frozen=True)
class Settings(BetaSettings):
    """By default the values of the authors' script.

    Args:
        symmetric, anchor, consistency: weights of the parts beside DPO's.
    """

    symmetric: float = 0.5
    anchor: float = 1.0
    consistency: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("symmetric", "anchor", "consistency"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"loss.{name} is {getattr(self, name)}; it must be at least 0.")


def partners(prompts: Sequence[str], images: Sequence[Hashable]) -> list[int | None]:
    """The row that each is set beside: its neighbour, where two rows that follow each other ask the same of different
    images; of the others the next one that asks it of another image, round from the end; None where there is none.

    Args:
        images: of each row, what tells its images from other ones.
    """
    asking: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        asking.setdefault(prompt, []).append(number)
    found: list[int | None] = [None] * len(prompts)
    row = 0
    while row + 1 < len(prompts):
        if prompts[row] == prompts[row + 1] and images[row] != images[row + 1]:
            found[row], found[row + 1] = row + 1, row
            row += 1
        row += 1
    for rows in asking.values():
        for place, row in enumerate(rows):
            if found[row] is None:
                others = (*rows[place + 1 :], *rows[:place])
                found[row] = next((other for other in others if images[other] != images[row]), None)
    return found


class PartnerSource:
    """Rows with their partner's answer as a second rejected one, and the two answers changed about under its images.

    Raises:
        InputError: no two rows ask the same of different images.
    """

    def __init__(self, context: SourceContext, settings: Settings) -> None:
        self._data = context.data
        turns = context.data.data.column("prompt").to_pylist()
        self._partners = partners(
            [text_of(messages) for messages in turns],
            images_sha256(context.data),
        )
        if not any(partner is not None for partner in self._partners):
            raise InputError("symmpo needs rows that ask the same question about different images, and none do.")

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        pairs: list[Row] = []
        for row in rows:
            partner = self._partners[int(row[ROW])]
            other = None if partner is None else self._data[partner]
            if other and not same_answer(text_of(row["chosen"]), text_of(other["chosen"])):
                turned = {"images": other["images"], "chosen": other["chosen"], "rejected": row["chosen"]}
                pairs.append({**row, REJECTED_POLICY: other["chosen"], OTHER_PAIR: turned})
        return SampledPairs(pairs, {"rows": len(rows), "no_partner": len(rows) - len(pairs), "used": len(pairs)})


def _pairwise(settings: Settings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        beta, other, second = settings.beta, pairs.other, pairs.second
        assert other is not None
        assert second is not None
        symmetric = -logsigmoid(beta * second.margin) - logsigmoid(beta * other.margin)
        anchors = -logsigmoid(beta * pairs.chosen_ratio) - logsigmoid(beta * other.chosen_ratio)
        gap = (second.margin - other.margin) ** 2
        return (
            -logsigmoid(beta * pairs.margin)
            + settings.symmetric * symmetric
            + settings.anchor * anchors
            + settings.consistency * gap
        )

    return loss


METHOD = Method(
    Settings,
    no_trl_loss,
    source=PartnerSource,
    keeps_answers=True,
    other_images=True,
    weights=lambda _: (1.0, 1.0),
    pairwise=_pairwise,
)
