"""Row shapes of supervised data, recognised by their columns, and read as turns and image cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmpref.errors import InputError
from mmpref.types import Message

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
QUESTIONS = ("question", "prompt", "instruction", "query")
ANSWERS = ("answer", "response", "output", "completion", "chosen", "caption")
SHAPES = (
    "prompt + completion (TRL conversational), messages, conversations (LLaVA-Instruct), or question + answer columns, "
    "with images or image"
)


class Unusable(Exception):
    """This row has a defined outcome: it is skipped and counted under ``reason``."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Turns:
    """A row's conversation, image placeholders removed, and how many each turn had."""

    messages: tuple[Message, ...]
    images_per_turn: tuple[int, ...]


def shape_of(row: Mapping[str, Any], where: str) -> str:
    """Name of the row's shape: ``conversations``, ``messages``, ``conversational`` or ``columns``.

    Raises:
        InputError: none of the known ones.
    """
    if "conversations" in row:
        return "conversations"
    if "messages" in row:
        return "messages"
    if isinstance(row.get("prompt"), list) and any(
        isinstance(row.get(name), list) for name in ("completion", "chosen")
    ):
        return "conversational"
    if any(name in row for name in QUESTIONS) and any(name in row for name in ANSWERS):
        return "columns"
    raise InputError(f"{where} has the columns {', '.join(row) or 'none'}; mmpref reads none of its shapes from them.",
                     f"Known shapes: {SHAPES}.")  # fmt: skip


def turns_of(row: Mapping[str, Any], shape: str, where: str) -> Turns:
    """The row's turns.

    Raises:
        InputError: the row is not of that shape (a file that mixes shapes).
    """
    if shape_of(row, where) != shape:
        raise InputError(f"{where} is of another shape ({shape_of(row, where)}) than the rows before it ({shape}).",
                         "Give one kind of rows at a time.")  # fmt: skip
    if shape == "conversations":
        raw = row["conversations"]
    elif shape == "messages":
        raw = row["messages"]
    elif shape == "conversational":
        raw = [*row["prompt"], *(row.get("completion") or row.get("chosen") or [])]
    else:
        question = next(row[name] for name in QUESTIONS if name in row)
        answer = next(row[name] for name in ANSWERS if name in row)
        raw = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if not isinstance(raw, list) or not raw:
        raise Unusable("no-turns")
    messages, placeholders = [], []
    for number, turn in enumerate(raw):
        if not isinstance(turn, Mapping):
            raise InputError(f"{where}, turn {number + 1} is a {type(turn).__name__}, not a message.")
        given = turn.get("role") or turn.get("from")
        role = ROLES.get(str(given))
        if role is None:
            raise InputError(f"{where}, turn {number + 1} has no known role ({given!r}).",
                             f"Known roles: {', '.join(ROLES)}.")  # fmt: skip
        text, images = _content(turn.get("content", turn.get("value")))
        messages.append(Message(role, text))  # type: ignore[arg-type]
        placeholders.append(images)
    return Turns(tuple(messages), tuple(placeholders))


def _content(content: Any) -> tuple[str, int]:
    """Plain text of a turn's content, and how many image placeholders it had."""
    if isinstance(content, list):
        images = sum(1 for part in content if isinstance(part, Mapping) and part.get("type") == "image")
        text = "".join(
            str(part.get("text") or "") for part in content if isinstance(part, Mapping) and part.get("type") == "text"
        )
        return text.strip() if images else text, images
    text = content if isinstance(content, str) else "" if content is None else str(content)
    marks = text.count("<image>")
    return (text.replace("<image>", "").strip(), marks) if marks else (text, 0)
