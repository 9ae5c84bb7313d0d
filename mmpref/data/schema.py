"""Shapes of supervised rows, recognised by their columns, and read as a conversation and image cells.

A shape is the columns that hold the conversation: ``messages`` or ``conversations`` (LLaVA-Instruct) whole, or a
prompt and an answer column, each of them text or messages (TRL's ``prompt`` + ``completion``, a preference set's
``prompt`` + ``chosen``, ``conversations`` + ``chosen``, ``question`` + ``answer``), or a preference set's ``chosen``
with the prompt inside. Rows of other shapes, such as those of published preference sets, are turned into these by a
`Reader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmpref.errors import InputError
from mmpref.types import Message

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant",
         "system": "system"}  # fmt: skip
QUESTIONS = ("prompt", "question", "instruction", "query")
ANSWERS = ("completion", "answer", "response", "output", "chosen", "caption")
IMAGES = ("images", "image", "image_path", "img_path")
FACTS = ("source", "chosen_model", "rejected_model", "margin")
"""Columns that say where a row is from, who wrote its answers, and by how much the chosen one was rated better (a
number); all of them optional."""
PROVENANCE = ("method", "similarity", "iterations")
"""Columns of mmpref's own datasets that go along where their pairs are kept."""
_NUMBERS = {"margin", "similarity", "iterations"}
SHAPES = (
    "prompt + completion (TRL conversational), messages, conversations (LLaVA-Instruct), or question + answer columns, "
    "with images or image"
)
MARK = "<image>"
_LEADING, _TRAILING = re.compile(rf"(?:\s*{MARK})+\s*"), re.compile(rf"\s*(?:{MARK}\s*)+$")

Shape = tuple[str, ...]


class Unusable(Exception):
    """This row has a defined outcome: it is skipped and counted under ``reason``."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.name: Any = None

    def named(self, name: Any) -> Unusable:
        """The same, knowing the id of its row."""
        self.name = name
        return self


Reader = Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any] | Unusable]]
"""Turns one row as it was published into rows of a shape of this module (``id``, an image column, prompt, ``chosen``,
``rejected``, and `FACTS`). A pair that cannot be used is an `Unusable` among them; raising one ends the row. A row
that gives nothing is counted as ``no-pair``."""


@dataclass(frozen=True)
class Turn:
    """A message without image placeholders, how many it had at either end, and whether there were others inside."""

    message: Message
    placeholders: int
    inside: bool


def shape_of(row: Mapping[str, Any], where: str) -> Shape:
    """The columns that hold the row's conversation.

    Raises:
        InputError: none of the known ones.
    """
    if "conversations" in row and "chosen" in row:
        return ("conversations", "chosen")
    for whole in ("conversations", "messages"):
        if whole in row:
            return (whole,)
    question = next((name for name in QUESTIONS if name in row), None)
    answer = next((name for name in ANSWERS if name in row), None)
    if question and answer:
        return (question, answer)
    if answer == "chosen":
        return ("chosen",)
    raise InputError(f"{where} has the columns {', '.join(map(str, row)) or 'none'}: no shape that mmpref reads.",
                     f"Known shapes: {SHAPES}.")  # fmt: skip


def turns_of(row: Mapping[str, Any], shape: Shape) -> list[Turn]:
    """The row's turns, in order.

    Raises:
        Unusable: a cell that holds no text or messages.
    """
    if len(shape) == 1:
        raw = _messages(row.get(shape[0]), "user", shape[0])
    else:
        prompt = _messages(row.get(shape[0]), "user", shape[0])
        answer = _messages(row.get(shape[1]), "assistant", shape[1])
        # Some preference sets repeat the prompt in the answer column.
        raw = answer if len(answer) > len(prompt) and answer[: len(prompt)] == prompt else [*prompt, *answer]
    return [_turn(item, number) for number, item in enumerate(raw, 1)]


def _messages(value: Any, role: str, column: str) -> list[Any]:
    if value is None or value == []:
        raise Unusable("empty-answer" if role == "assistant" else "empty-prompt", f"no {column}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, Mapping) and role == "assistant" and ("from" in value or "role" in value):
        return [value]  # One message, as sets for LLaMA-Factory have it.
    if not isinstance(value, list):
        raise Unusable("malformed", f"{column} is a {type(value).__name__}, not text or messages")
    return value


def _turn(item: Any, number: int) -> Turn:
    if not isinstance(item, Mapping):
        raise Unusable("malformed", f"turn {number} is a {type(item).__name__}, not a message")
    given = item.get("role") or item.get("from")
    role = ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise Unusable("malformed", f"turn {number} has the role {given!r}; known are {', '.join(ROLES)}")
    text = _text(item["content"] if item.get("content") is not None else item.get("value"), number)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unusable("malformed", f"turn {number} is not Unicode text ({error.reason})") from error
    placeholders = 0
    if MARK in text:
        before = text.count(MARK)
        text = _TRAILING.sub("", text)
        if leading := _LEADING.match(text):
            text = text[leading.end() :]
        placeholders = before - text.count(MARK)
        text = text.strip()
    return Turn(Message(role, text), placeholders, MARK in text)  # type: ignore[arg-type]


def _text(content: Any, number: int) -> str:
    """Text of a message's content; image blocks become marks."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Unusable("malformed", f"turn {number} holds a {type(content).__name__}, not text")
    parts = []
    for block in content:
        if isinstance(block, str):
            parts.append(block)
        elif not isinstance(block, Mapping):
            raise Unusable("malformed", f"turn {number} holds a {type(block).__name__}, not a block of content")
        elif block.get("type") in ("image", "image_url"):
            parts.append(MARK)
        elif isinstance(block.get("text"), str):
            parts.append(block["text"])
        else:
            raise Unusable("malformed", f"turn {number} has a block of type {block.get('type')!r}")
    return "".join(parts)


def rejected_of(row: Mapping[str, Any], shape: Shape, column: str = "rejected") -> str | None:
    """The rejected answer of a preference set's row: the text of its last assistant turn. None where there is none, or
    nothing that is text: methods that write their own do without it."""
    if shape[-1] != "chosen":
        return None
    try:
        turns = [_turn(item, n) for n, item in enumerate(_messages(row.get(column), "assistant", column), 1)]
    except Unusable:
        return None
    answers = [turn.message.content for turn in turns if turn.message.role == "assistant"]
    return answers[-1].strip() if answers and answers[-1].strip() else None


def facts_of(row: Mapping[str, Any]) -> dict[str, str | float]:
    """The `FACTS` and `PROVENANCE` that the row has."""
    found: dict[str, str | float] = {}
    for name in (*FACTS, *PROVENANCE):
        value = row.get(name)
        if name in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
        elif name not in _NUMBERS and isinstance(value, str) and value:
            found[name] = value
    return found


def image_cells(row: Mapping[str, Any]) -> list[Any]:
    """The image cells of a row, of whichever image column it has; empty cells are left out."""
    cells = next((row[name] for name in IMAGES if row.get(name) is not None), None)
    return [cell for cell in (cells if isinstance(cells, list) else [cells]) if cell is not None]
