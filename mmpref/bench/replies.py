"""What there is to score of a model's replies: answers without their reasoning, and which samples are missing and why.

Missing is not wrong: a sample whose image or text the model cannot take, whose request failed, or whose reply never
came to an answer is counted apart, told with the first of its kind, and the score is over the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.plan import Plan
from mmpref.errors import ImageError, InputError, MmprefError, ModelError
from mmpref.log import logger
from mmpref.reasoning import Markers, read, read_all

_SHOWN = 200
_KINDS: tuple[tuple[type[MmprefError], str], ...] = (
    (ImageError, "their images cannot be read"),
    (InputError, "their text cannot be asked"),
    (ModelError, "the model gave no answer"),
)


@dataclass(frozen=True)
class Replies:
    """A model's replies to a benchmark's samples, in their order.

    Args:
        raw: as the model wrote them; None where there is none.
        answers: without reasoning; None where the sample is missing.
        reasoned: how many have a block of reasoning.
        unfinished: how many never came to an answer.
    """

    raw: tuple[str | None, ...]
    answers: tuple[str | None, ...]
    reasoned: int
    unfinished: int


def replies(
    said: Sequence[str | MmprefError], plan: Plan, known: Markers, *, seen: bool = True, quiet: bool = False
) -> Replies:
    """Read what a model said, and tell what is missing.

    Args:
        said: its replies, or why there is none.
        known: markers of reasoning.
        seen: the prompts were rendered here, so that the replies have the marker that a prompt opens.
        quiet: what cannot be asked was told before.

    Raises:
        InputError: no image can be read.
        ModelError: nothing was answered.
    """
    raw = tuple(one if isinstance(one, str) else None for one in said)
    found = [None if one is None else read(one, known) for one in raw] if seen else read_all(raw, known)
    answers = tuple(one.answer if one else None for one in found)
    endless = [text for text, one in zip(raw, found, strict=True) if text is not None and one and one.answer is None]
    errors = [error for error in said if isinstance(error, MmprefError)]
    lost = {why: [error for error in errors if _kind(error) is kind] for kind, why in _KINDS}
    unseen = lost[_KINDS[0][1]]
    if unseen and len(unseen) == len(said):
        named = f"{plan.name} ({plan.table.spec}, split {plan.table.split})"
        hint = unseen[0].hint or f"If they lie elsewhere: --set benchmark.{plan.name}.images=FOLDER."
        raise InputError(f"No image of benchmark {named} can be read: {unseen[0].message}", hint)
    if errors and len(errors) == len(said):
        raise next((error for error in errors if isinstance(error, ModelError)), errors[0])
    for why, some in lost.items():
        if some and not quiet:
            _warn(some[0], len(some), len(said), plan.name, why)
    if endless:
        last = f"it ends with {endless[0][-_SHOWN:]!r}"
        hint = f"Let it write more: --set benchmark.{plan.name}.max_new_tokens=4096."
        if len(endless) + len(errors) == len(said):
            raise ModelError(f"No reply to {plan.name} comes to an answer behind its reasoning: {last}.", hint)
        _warn(f"{last}. {hint}", len(endless), len(said), plan.name, "their reasoning comes to no answer")
    return Replies(raw, answers, sum(one is not None and one.reasoned for one in found), len(endless))


def _kind(error: MmprefError) -> type[MmprefError] | None:
    return next((kind for kind, _ in _KINDS if isinstance(error, kind)), None)


def _warn(first: object, lost: int, all_: int, name: str, why: str) -> None:
    logger.warning(
        "Warning: %d of %d samples of %s are missing, %s; the score is over the others. First: %s",
        lost,
        all_,
        name,
        why,
        first,
    )
