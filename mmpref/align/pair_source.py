"""Pair sources: what a step trains on, where it is more than the rows of the data.

A source is called with the rows of a batch just before they are collated, and with the number of the optimizer's step.
It samples from the current policy, by streams that are named by seed, step and row: the same run samples the same,
whatever it is interrupted by, and a row that comes again in another epoch is sampled anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mmpref.align.preference_data import ROW
from mmpref.align.row_tally import SKIPS_SHOWN
from mmpref.counts import sum_counts
from mmpref.errors import ChatTemplateError
from mmpref.log import logger
from mmpref.tables.rows import REJECTED_POLICY, same_answer
from mmpref.types import Example, ImageData, assistant_message, messages, text_of

if TYPE_CHECKING:
    from mmpref.judges.annotator import Annotator
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.preprocess import Refused

Row = Mapping[str, Any]
"""A row of the data: ``images`` (decoded), ``prompt``, ``chosen``, ``rejected`` (messages) and its number."""


@dataclass(frozen=True)
class SourceContext:
    """What a source may use.

    Args:
        policy: in training; what it writes depends on the step.
        annotator: who compares answers, where the method asks somebody.
        images: the encoded images of a row, by its number.
        data: all rows (`mmpref.align.preference_data.Pairs.dataset`), for methods that set one beside another.
    """

    policy: Policy
    seed: int
    images: Callable[[int], tuple[ImageData, ...]]
    annotator: Annotator | None = None
    data: Any = None

    def example(self, row: Row, step: int) -> Example:
        """A row as an example whose id names step and row."""
        number = int(row[ROW])
        return Example(
            f"{step}/{number}", self.images(number), tuple(messages(row["prompt"])), text_of(row["chosen"]), ""
        )


@dataclass(frozen=True)
class SampledPairs:
    """What a source made of a batch.

    Args:
        rows: those that there is a pair for, complete.
        counts: of rows and what became of them; they add up over a run.
    """

    rows: list[Row]
    counts: Mapping[str, float] = field(default_factory=dict)


class PairSource(Protocol):
    """Turns rows of the data into the pairs of a step."""

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        """The pairs for some of the rows. The model is in eval mode, and no gradients are kept."""
        ...


class WritablePairs:
    """The pairs of a source, without those that the model's chat template does not write: what a policy says at a step
    nobody has checked before. They are named, and counted as ``chat-template``.

    Args:
        refused: what the chat template refuses of a row.
        where: a row's place in its table, by its number.
    """

    def __init__(self, source: PairSource, refused: Refused, where: Callable[[int], str]) -> None:
        self._source, self._refused, self._where = source, refused, where
        self._told = 0

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        try:
            sampled = self._source(rows, step)
        except ChatTemplateError as error:  # of an answer that the source goes on from
            if len(rows) > 1:
                return _joined([self([row], step) for row in rows])
            self._tell(rows[0], error.message)
            sampled = SampledPairs([], {"rows": 1, "used": 0, error.reason: 1})
        kept = [row for row in sampled.rows if self._writes(row)]
        lost = len(sampled.rows) - len(kept)
        counts = {ChatTemplateError.reason: lost, "used": len(kept)} if lost else {}
        return SampledPairs(kept, {**sampled.counts, **counts})

    def _writes(self, row: Row) -> bool:
        answers = {name: text_of(row[name]) for name in ("chosen", "rejected", REJECTED_POLICY) if name in row}
        if refused := self._refused(messages(row["prompt"]), len(row["images"]), answers):
            self._tell(row, ": ".join(refused))
        return not refused

    def _tell(self, row: Row, words: str) -> None:
        self._told += 1
        if self._told <= SKIPS_SHOWN:
            logger.warning("%s is left out of this step: %s", self._where(int(row[ROW])), words)


def _joined(parts: Sequence[SampledPairs]) -> SampledPairs:
    return SampledPairs([row for part in parts for row in part.rows], sum_counts(part.counts for part in parts))


def under_other_images(row: Row, images: Sequence[Any]) -> dict[str, Any]:
    """The other pair (`OTHER_PAIR`) of a row whose chosen answer alone is asked about under other images."""
    return {"images": list(images), "chosen": row["chosen"], "rejected": row["chosen"]}


def with_policy_rejections(
    rows: Sequence[Row], examples: Sequence[Example], completions: Sequence[str | None], averaged: bool
) -> SampledPairs:
    """Rows with the policy's answer as their second rejected one, or where nothing is averaged as their only one.

    An answer that is cut off, empty or the chosen one is counted, and its row left out; where losses are averaged the
    row stays with the chosen answer as its second one, against which the loss has no gradient.

    Args:
        examples: of the rows.
        completions: the policy's rejected answers; None for one that a bound on its length cut off.
    """
    counts = {"rows": len(rows), "cut_off": 0, "empty": 0, "same": 0}
    pairs: list[Row] = []
    for row, example, text in zip(rows, examples, completions, strict=True):
        if reason := _skip_reason(text, example.answer):
            counts[reason] += 1
            if averaged:
                pairs.append({**row, REJECTED_POLICY: row["chosen"]})
        else:
            pairs.append({**row, REJECTED_POLICY if averaged else "rejected": assistant_message(text or "")})
    return SampledPairs(pairs, {**counts, "used": len(pairs)})


def _skip_reason(text: str | None, chosen: str) -> str | None:
    """Why an answer teaches nothing; None where it may."""
    if text is None:
        return "cut_off"
    if not text.strip():
        return "empty"
    return "same" if same_answer(text, chosen) else None
