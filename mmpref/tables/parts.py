"""The parts of a preference row: what of it can be named, and what to do where one is missing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mmpref.tables.cells import IMAGES, own_name
from mmpref.tables.messages import (
    ANSWERS,
    CAPTIONS,
    CHOSEN,
    DEFAULT_PROMPT,
    QUESTIONS,
    REJECTED,
    WHOLE,
    Unusable,
    read_turns,
)

_CONVERSATION = (*WHOLE, *QUESTIONS)
_ANSWER = (*ANSWERS, *CAPTIONS, *WHOLE)
PARTS: dict[str, tuple[str, ...]] = {
    "prompt": _CONVERSATION,
    "question": _CONVERSATION,
    "answer": (*_ANSWER, *CHOSEN),
    "caption": (*_ANSWER, *CHOSEN),
    "chosen": CHOSEN,
    "rejected": REJECTED,
    "rejected_policy": ("rejected_policy",),
    "messages": (*_CONVERSATION, *_ANSWER),
    "image": IMAGES,
    "images": IMAGES,
    "system": ("system",),
    "id": ("id",),
    "severity": ("severity",),
    "hardness": ("hardness",),
    "chosen_weights": ("chosen_weights",),
    "rejected_weights": ("rejected_weights",),
}
"""What of a preference row can be named -> the columns that are not read beside it: what is named is meant."""
PUBLISHED = (
    "Published sets of other shapes are built by the method of their name, such as build-dataset --method=vlfeedback."
)
HINT = (
    "Name its columns with --columns=prompt=COLUMN,answer=COLUMN,image=COLUMN, or, of captions, to which there is no "
    f"prompt, --columns=caption=COLUMN,image=COLUMN; all parts are {', '.join(PARTS)}. Shapes that need none: "
    "prompt + completion (TRL conversational), messages, conversations (LLaVA-Instruct), texts (the Cauldron), or "
    "question + answer columns, or a caption, with images or image; of preferences, also chosen + rejected, or "
    f"rejected_response or rejected_messages (ms-swift). {PUBLISHED}"
)
"""What to do where nothing of a row is known."""


def answer_column(row: Mapping[str, Any]) -> str | None:
    """The column of an answer to which a row has no question; None where it has none."""
    if any(name in row for name in (*WHOLE, *QUESTIONS)):
        return None
    column = next((name for name in (*CHOSEN, *ANSWERS) if name in row), None)
    return None if column in CHOSEN and has_question(row[column]) is not False else column


def has_question(chosen: Any) -> bool | None:
    """Whether a preferred answer is a whole conversation, with the prompt inside (TRL's implicit form); None of what is
    no answer at all, as whoever reads the row says."""
    try:
        return any(turn.message.role == "user" for turn in read_turns(chosen, "assistant", "chosen"))
    except Unusable:
        return None


def how_to_name(row: Mapping[str, Any], missing: Sequence[str]) -> str:
    """What to do where these parts of a row are missing.

    Args:
        row: with the columns that it is read by (`mmpref.tables.headings.unfolded`).
    """
    ways = []
    if "prompt" in missing and (answer := answer_column(row)):
        caption, prompt = shlex.quote(f"caption={own_name(row, answer)}"), shlex.quote(DEFAULT_PROMPT)
        if answer in ANSWERS:
            ways.append(f"if the answer is a caption: --columns={caption}")
        ways.append(f"if one thing is asked of every row (of build-dataset and train): --default-prompt={prompt}")
    named = ",".join(f"{part}=COLUMN" for part in missing)
    ways.append(f"if {'it has' if len(missing) == 1 else 'they have'} another name: --columns={named}")
    said = "; ".join(ways)
    return f"{said[0].upper()}{said[1:]}."
