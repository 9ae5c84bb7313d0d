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


def read_replies(
    texts: Sequence[str | MmprefError], plan: Plan, markers: Markers, *, rendered: bool = True, quiet: bool = False
) -> Replies:
    """Read what a model replied, and tell what is missing.

    Args:
        texts: its replies, or why there is none.
        markers: of reasoning.
        rendered: the prompts were rendered here, so that the replies have the marker that a prompt opens.
        quiet: what cannot be asked was told before.

    Raises:
        InputError: no image can be read.
        ModelError: nothing was answered.
    """
    raw = tuple(text if isinstance(text, str) else None for text in texts)
    parsed = [None if text is None else read(text, markers) for text in raw] if rendered else read_all(raw, markers)
    answers = tuple(reply.answer if reply else None for reply in parsed)
    unfinished = [
        text for text, reply in zip(raw, parsed, strict=True) if text is not None and reply and reply.answer is None
    ]
    errors = [error for error in texts if isinstance(error, MmprefError)]
    errors_by_reason = {reason: [error for error in errors if _kind(error) is kind] for kind, reason in _KINDS}
    image_errors = errors_by_reason[_KINDS[0][1]]
    if image_errors and len(image_errors) == len(texts):
        benchmark = f"{plan.name} ({plan.table.spec}, split {plan.table.split})"
        hint = image_errors[0].hint or f"If they lie elsewhere: --set benchmark.{plan.name}.images=FOLDER."
        raise InputError(f"No image of benchmark {benchmark} can be read: {image_errors[0].message}", hint)
    if errors and len(errors) == len(texts):
        raise next((error for error in errors if isinstance(error, ModelError)), errors[0])
    for reason, some in errors_by_reason.items():
        if some and not quiet:
            _warn(some[0], len(some), len(texts), plan.name, reason)
    if unfinished:
        last = f"it ends with {unfinished[0][-_SHOWN:]!r}"
        hint = f"Let it write more: --set benchmark.{plan.name}.max_new_tokens=4096."
        if len(unfinished) + len(errors) == len(texts):
            raise ModelError(f"No reply to {plan.name} comes to an answer behind its reasoning: {last}.", hint)
        _warn(f"{last}. {hint}", len(unfinished), len(texts), plan.name, "their reasoning comes to no answer")
    reasoned = sum(reply is not None and reply.reasoned for reply in parsed)
    return Replies(raw, answers, reasoned, len(unfinished))


def _kind(error: MmprefError) -> type[MmprefError] | None:
    return next((kind for kind, _ in _KINDS if isinstance(error, kind)), None)


def _warn(first: object, missing: int, total: int, name: str, reason: str) -> None:
    logger.warning(
        "Warning: %d of %d samples of %s are missing, %s; the score is over the others. First: %s",
        missing,
        total,
        name,
        reason,
        first,
    )
