"""The limits of preference data, as its card says them: by who wrote which answer, and what was bounded.

They follow from what a run records, so that they hold for every method, a plugin's too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

_OFF_POLICY = "for another model they are off-policy."
_UNCHECKED = "nothing was checked or filtered beyond the rows named above."
_BOUNDED = "the similarity threshold bounds this, and does not exclude it."


@dataclass(frozen=True)
class Making:
    """How pairs came about.

    Args:
        written: the columns that were written here; the others are the source's.
        model, annotator: whether a model, or an annotator, took part.
        threshold: whether a try was taken only where its answer is less similar to the chosen one than a bound.
        corrected: whether the chosen answers are the model's own as the annotator corrected them.
        rewritten: whether the rejected answers were made from chosen ones that are the model's own.
        second: whether the rejected answers stand beside the source's, in ``rejected_policy``.
        control: whether the method is there to compare with.
    """

    written: Collection[str]
    model: bool = False
    annotator: bool = False
    threshold: bool = False
    corrected: bool = False
    rewritten: bool = False
    second: bool = False
    control: bool = False


def limits(making: Making) -> list[str]:
    """Sentences of Markdown, a list's items."""
    if "chosen" in making.written:
        return _of_own_answers(making)
    return _of_rejected_answers(making) if making.written else _of_the_sources_answers(making)


def _of_own_answers(making: Making) -> list[str]:
    said = "They show what one model tends to say. For another model they are off-policy."
    if making.rewritten:
        some = "The annotator overlooks faults of chosen answers, and some" if making.annotator else "Some"
        style = f", or differ from the chosen answer in style only; {_BOUNDED}" if making.threshold else "."
        return [f"Both answers are generated. {some} rejected answers may be true of the image{style}", said]
    judge = "annotator" if making.annotator else "method"
    judged = (
        f"Both answers are generated, and which is better is the {judge}'s judgement: where it errs, the pair is the "
        "wrong way round."
    )
    corrected = (
        "The rejected answers are what one model says, and the chosen ones the same with the annotator's corrections. "
        "For another model both are off-policy."
    )
    return [judged, corrected if making.corrected else said]


def _of_rejected_answers(making: Making) -> list[str]:
    answers = "answers in `rejected_policy`" if making.second else "rejected answers"
    source = ["The chosen answers are the source's: its errors, biases and gaps are here too."]
    if making.second:
        source.append("The answers in `rejected` are the source's too, and that they are worse is its judgement.")
    if not (making.model or making.annotator):
        return [
            f"No model was asked for the {answers}: the method made them without one. Some may be true of the image "
            "all the same; nobody looked at them.",
            *source,
            f"The {answers} do not show what a model hallucinates: for every model they are off-policy.",
        ]
    if making.threshold:
        bound = _BOUNDED
    else:
        bound = "the annotator overlooks some." if making.model and making.annotator else "nobody looked at them."
    who = " and ".join(
        name for name, took_part in (("one model", making.model), ("the annotator", making.annotator)) if took_part
    )
    return [
        f"The {answers} are generated. Some may be true of the image, or differ from the chosen answer in style only; "
        f"{bound}",
        *source,
        f"{who[0].upper()}{who[1:]} made the {answers}: {_OFF_POLICY}",
    ]


def _of_the_sources_answers(making: Making) -> list[str]:
    better = (
        "Which answer is called better is this control's doing, not the source's judgement"
        if making.control
        else "Which answer is better follows from what the source says of both"
    )
    return [
        f"{better}; {_UNCHECKED}",
        "Answers that the model that you train did not write itself are off-policy for it.",
    ]
