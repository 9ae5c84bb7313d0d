"""Which columns of a row hold its conversation and its answers, and their messages, of every form, as turns.

A shape is the columns that hold the conversation up to the (chosen) answer: ``messages``, ``conversations``
(LLaVA-Instruct) or ``texts`` (the Cauldron, FineVision) whole, or a prompt and an answer column, each of them text or
messages, or a preference set's ``chosen`` with the prompt inside. A caption beside an image is an answer without a
prompt, and is given one.

Messages are LLaVA's ``from``/``value``, TRL's and OpenAI's ``role``/``content`` with text or parts, Qwen's parts with
the image inside, the Cauldron's ``user``/``assistant``, lists taken apart into columns, JSON text. Nothing in a message
is dropped: what is not read is an `Unusable` that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.errors import InputError, brief
from mmpref.tables.cells import (
    as_text,
    columns_of,
    image_cells,
    is_empty,
    is_false,
    is_image_file,
    is_missing,
    is_no_image,
    is_null,
    own_name,
    records,
    unpacked,
    unread_images,
)
from mmpref.types import Message, Role

Shape = tuple[str, ...]
WHOLE = ("conversations", "messages", "conversation", "texts")
QUESTIONS = ("prompt", "question", "instruction", "query")
CHOSEN = ("chosen", "chosen_response", "chosen_answer")
ANSWERS = ("completion", "answer", "response", "output", "caption", "answers")
CAPTIONS = ("caption", "captions", "description", "text")
"""What stands for the answer where a row has an image and no question; a plain ``text`` may be anything else too."""
DEFAULT_PROMPT = "Please describe this image in detail."
"""Asked of captions, which have no prompt: what the benchmark chair asks."""
REJECTED = ("rejected", "rejected_response", "rejected_answer", "rejected_messages", "rejected_conversations")
CONTEXT = ("choices", "options", "hint", "context", "passage", "input")
MEDIA = (
    *("video", "videos", "video_path", "audio", "audios", "audio_path", "chosen_images", "rejected_images"),
    *("mp4", "webm", "mp3", "wav", "flac"),
)
"""What the model would have to see or hear beside images."""

_LOOKS_REJECTED = re.compile(r"reject|dispreferred|(^|_)(loser|losing|worse|negative|y_l)(_|$)", re.IGNORECASE)
_ABOUT_ANSWERS = re.compile(
    r".*_(model|models|score|scores|rating|ratings|reward|margin|source|id|ids|length|tokens|weights|logps?|policy|type"
    r"|reason)$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\s*(?:[A-Da-d]|\d)\s*")
_CANDIDATE = re.compile(r"(?:response|answer|completion|output|candidate)s?(?:_?(?:[a-d]|\d))?", re.IGNORECASE)
_UNPAIRED = (*WHOLE, "completion", "response")
_TO_FILL = re.compile("<ref-object>|<bbox>")
_FURTHER_IMAGE = re.compile(r"(?:image|img)s?_?\d{1,2}", re.IGNORECASE)


ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "developer": "system",
}
MARK = "<image>"
_MARKS = re.compile(
    r"<image>|(?:<img>)?<ImageHere>(?:</img>)?|<image_placeholder>|<image[_ ]\d{1,3}>|<\|image(?:_\d{1,3})?\|>"
    r"|(?:<\|vision_start\|>)?<\|image_pad\|>(?:<\|vision_end\|>)?|<img>[^<>\n]{1,1000}</img>",
    re.IGNORECASE,
)
"""Placeholders that sets have in a user's turn, each for one image."""
_IMAGE_PARTS = ("image", "image_url", "input_image", "image_path", "image_base64")
_TEXT_PARTS = ("text", "input_text", "output_text")
_IN_PART = ("image", "image_url", "url", "path", "base64", "bytes", "data", "source", "image_path", "image_base64")
_NOT_READ = (
    "tool_calls",
    "function_call",
    "audio",
    "audios",
    "video",
    "videos",
    "reasoning_content",
    "reasoning",
    "thinking",
)


def shape_of(row: Mapping[str, Any], where: str) -> Shape:
    """The columns that hold the row's conversation.

    Returns:
        The columns; that of the prompt is ``""`` where rows have captions and none (`DEFAULT_PROMPT`), that of the
        answer where there is a bare prompt.

    Raises:
        InputError: none of the known ones.
    """
    whole, question, chosen, answer = (_first(names, row) for names in (WHOLE, QUESTIONS, CHOSEN, ANSWERS))
    if chosen:
        before = question or whole
        return (before, chosen) if before else (chosen,)
    if whole:
        return (whole,)
    if question:
        return (question, answer or "")
    caption = _first(CAPTIONS, row)
    if caption and (caption != "text" or _is_caption(row)):
        return ("", caption)
    raise InputError(f"{where} has the columns {columns_of(row)}: no shape that mmpref reads.")


def _is_caption(row: Mapping[str, Any]) -> bool:
    """Whether a row's ``text`` is about its image, and not a question with its answer in ``label`` (POPE's files)."""
    return "label" not in row and bool(image_cells(row) or unread_images(row, files=False))


def rejected_column(row: Mapping[str, Any]) -> str | None:
    """The column of the rejected answer; where there are several, the first that has one."""
    filled = [name for name in REJECTED if not is_empty(row.get(name))]
    return filled[0] if filled else _first(REJECTED, row)


def unread_answers(row: Mapping[str, Any]) -> list[str]:
    """Columns, as their owner calls them, that look as if they held a rejected answer, hold something, and are not
    read."""
    read = {rejected_column(row), "rejected_policy"}
    return [
        own_name(row, name)
        for name, value in row.items()
        if name not in read
        and name not in MEDIA
        and isinstance(value, str | list | Mapping)
        and value
        and _LOOKS_REJECTED.search(name)
        and not _ABOUT_ANSWERS.match(name)
    ]


def unread_context(row: Mapping[str, Any]) -> list[str]:
    """Columns, as their owner calls them, that look like a part of the question (choices, a hint, a further image of a
    webdataset), hold something, and are not read."""
    read = "input" if "instruction" in row else None
    others = [name for name in row if is_image_file(name)]
    return [
        own_name(row, name)
        for name in (*CONTEXT, *others)
        if name != read and isinstance(value := row.get(name), str | list | Mapping) and value
    ]


def named_answers(row: Mapping[str, Any], column: str) -> list[str]:
    """The columns that hold the answers, where the given one only names one of them, by a letter or a number."""
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int) or not _LABEL.fullmatch(str(value)):
        return []
    columns = [name for name in row if _CANDIDATE.fullmatch(name) and not is_missing(row[name])]
    listed = [name for name in columns if isinstance(row[name], list) and len(row[name]) > 1]
    return [own_name(row, name) for name in listed or (columns if len(columns) > 1 else [])]


def is_labelled_bad(row: Mapping[str, Any], answer: str) -> bool:
    """Whether a row without pairs says that its answer is a bad one: ``kto_tag`` of LLaMA-Factory, ``label`` of TRL and
    ms-swift. Beside other columns than theirs a ``label`` of 0 may be the number of a class."""
    if is_false(row.get("kto_tag")):
        return True
    label = row.get("label")
    is_number = answer not in _UNPAIRED and str(label).strip().lower() != "false"
    return answer not in CHOSEN and is_false(label) and not is_number


def unfilled(row: Mapping[str, Any], texts: Iterable[str]) -> str | None:
    """ms-swift's placeholder in one of the row's texts, for which every model has its own words: names and boxes of
    ``objects``."""
    cell = unpacked(row.get("objects"))
    if not any(isinstance(one, Mapping) for one in (cell if isinstance(cell, list) else [cell])):
        return None
    return next((found[0] for text in texts if (found := _TO_FILL.search(text))), None)


def further_images(row: Mapping[str, Any]) -> list[str]:
    """Columns of further images by their names: ``image_2``."""
    return [name for name in row if _FURTHER_IMAGE.fullmatch(name)]


def unread_media(row: Mapping[str, Any]) -> list[str]:
    """Columns, as their owner calls them, of video, sound, images of one of the answers, or further images
    (``image_2``), that hold something."""
    return [
        own_name(row, name)
        for name in (*MEDIA, *further_images(row))
        if isinstance(value := row.get(name), str | bytes | list | Mapping) and not is_no_image(value)
    ]


def _first(names: Iterable[str], row: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in row), None)


class Unusable(Exception):
    """This row has a defined outcome: it is skipped and counted under ``reason``."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = brief(detail, 300)
        self.name: Any = None

    def named(self, name: Any) -> Unusable:
        """The same, knowing the id of its row."""
        self.name = name
        return self


@dataclass(frozen=True)
class ImagePart:
    """An image in a message: its cell, or None for a placeholder of an image that a column has."""

    cell: Any = None


@dataclass(frozen=True)
class Turn:
    """A message as text, its images, whether one stands behind the text, and whether one stands amid it."""

    message: Message
    images: tuple[ImagePart, ...] = ()
    image_after_text: bool = False
    image_amid_text: bool = False


def with_input(turn: Turn, more: str) -> Turn:
    """A turn that goes on with the text of another column (Alpaca's ``input``), placeholders in it too."""
    whole = _turn({"role": turn.message.role, "content": f"{turn.message.content}\n{more}"}, 1)
    behind = turn.image_after_text and whole.message.content != turn.message.content
    return Turn(
        whole.message,
        (*turn.images, *whole.images),
        turn.image_after_text or whole.image_after_text,
        turn.image_amid_text or whole.image_amid_text or behind,
    )


def read_turns(value: Any, role: str, column: str) -> list[Turn]:
    """The turns of a cell that holds text or messages.

    Args:
        role: whose text it is, where it is text.

    Raises:
        Unusable: it holds neither, or something that is not read.
    """
    cell, value = value, records(_conversation(as_text(value) or value))
    if is_missing(value) or value == []:
        raise Unusable("empty-answer" if role == "assistant" else "empty-prompt", f"no {column}")
    if isinstance(value, str):
        return [_turn({"role": role, "content": value}, 1)]
    if isinstance(value, Mapping) and ("from" in value or "role" in value):
        value = [value]  # One message, as sets for LLaMA-Factory have it.
    if not isinstance(value, list):
        raise Unusable("malformed", f"{column} is a {type(cell).__name__}, not text or messages")
    if all(isinstance(item, str) for item in value):
        if len(set(value)) > 1:
            raise Unusable("malformed", f"{column} is a list of {len(value)} texts; one is read a row")
        return [_turn({"role": role, "content": value[0]}, 1)]
    return [_turn(item, number) for number, item in enumerate(_exchanges(value), 1)]


def _conversation(value: Any) -> Any:
    """Messages in JSON text; other JSON is text like any other."""
    content = records(unpacked(value)) if isinstance(value, str) else value
    if isinstance(content, list) and content and all(isinstance(item, Mapping) for item in content):
        if all({"from", "role"} & item.keys() or {"user", "assistant"} <= item.keys() for item in content):
            return content
    elif isinstance(content, Mapping) and {"from", "role"} & content.keys() and {"value", "content"} & content.keys():
        return content
    return value


def _exchanges(items: Sequence[Any]) -> Iterator[Any]:
    """The Cauldron's pairs of turns as two messages each."""
    for item in items:
        if isinstance(item, Mapping) and {"user", "assistant"} <= item.keys() and not {"from", "role"} & item.keys():
            if not is_missing(item.get("system")):
                yield {"role": "system", "content": item["system"]}
            yield {"role": "user", "content": item["user"]}
            yield {"role": "assistant", "content": item["assistant"]}
        else:
            yield item


def role_of(message: Mapping[str, Any]) -> Role | None:
    """Whose message it is; None where the name is not known."""
    name = message.get("role") or message.get("from")
    return ROLES.get(name.strip().lower()) if isinstance(name, str) else None


def _turn(item: Any, number: int) -> Turn:
    if not isinstance(item, Mapping):
        raise Unusable("malformed", f"turn {number} is a {type(item).__name__}, not a message")
    if (role := role_of(item)) is None:
        name, known = item.get("role") or item.get("from"), ", ".join(ROLES)
        raise Unusable(
            "not-read" if isinstance(name, str) else "malformed",
            f"turn {number} has the role {brief(repr(name), 60)}; known are {known}",
        )
    if unread := [name for name in _NOT_READ if name in item and not is_null(item[name]) and item[name]]:
        raise Unusable("not-read", f"turn {number} has {', '.join(unread)}, which mmpref does not read")
    content = next((item[name] for name in ("content", "value", "text") if not is_missing(item.get(name))), None)
    items = [*_own_images(item), *_items(records(content), number, role)]
    texts = [part for part in items if isinstance(part, str)]
    text = "".join(texts)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unusable("malformed", f"turn {number} is not Unicode text ({error.reason})") from error
    images = tuple(part for part in items if isinstance(part, ImagePart))
    if not images:
        return Turn(Message(role, text))
    text_places = [place for place, part in enumerate(items) if isinstance(part, str) and part.strip()]
    image_places = [place for place, part in enumerate(items) if isinstance(part, ImagePart)]
    behind = bool(text_places) and any(place > text_places[-1] for place in image_places)
    amid = bool(text_places) and any(text_places[0] < place < text_places[-1] for place in image_places)
    return Turn(Message(role, text.strip()), images, behind, amid)


def _own_images(item: Mapping[str, Any]) -> list[ImagePart]:
    """Images beside a message's text (Ollama's form)."""
    value = next((item[name] for name in ("images", "image") if not is_null(item.get(name))), None)
    return [ImagePart(cell) for cell in (value if isinstance(value, list) else [value]) if not is_null(cell)]


def _items(content: Any, number: int, role: str) -> Iterator[str | ImagePart]:
    """Texts and images of a message's content, in order."""
    if is_missing(content):
        return
    if isinstance(content, str):
        yield from _marked(content, role)
        return
    if isinstance(content, Mapping) and "type" in content:
        content = [content]
    if not isinstance(content, list):
        raise Unusable("malformed", f"turn {number} holds a {type(content).__name__}, not text")
    for part in content:
        if isinstance(part, str):
            yield from _marked(part, role)
        elif not isinstance(part, Mapping):
            raise Unusable("malformed", f"turn {number} holds a {type(part).__name__}, not a part of content")
        else:
            yield from _part(part, number, role)


def _part(part: Mapping[str, Any], number: int, role: str) -> Iterator[str | ImagePart]:
    kind, text = part.get("type"), part.get("text")
    name = next((name for name in _IN_PART if not is_no_image(part.get(name))), "")
    cell = part.get(name)
    if kind in _IMAGE_PARTS or (kind is None and cell is not None):
        if isinstance(text, str) and text.strip():
            raise Unusable("not-read", f"turn {number} has a part with an image and a text")
        yield ImagePart({"bytes": cell} if name in ("base64", "bytes", "data") else cell)
    elif (kind is None or kind in _TEXT_PARTS) and (isinstance(text, str) or (kind and is_missing(text))):
        if cell is not None:
            raise Unusable("not-read", f"turn {number} has a part of text that holds an image too")
        yield from _marked(text if isinstance(text, str) else "", role)
    else:
        what = f"a part of type {brief(repr(kind), 60)}"
        raise Unusable(
            "malformed" if kind in _TEXT_PARTS else "not-read", f"turn {number} has {what}, which mmpref does not read"
        )


def _marked(text: str, role: str) -> Iterator[str | ImagePart]:
    """Text around its placeholders; in other turns than the user's only the plain one stands for an image."""
    if "<" not in text:
        yield text
        return
    position = 0
    for match in _MARKS.finditer(text):
        if role == "user" or match[0] == MARK:
            yield text[position : match.start()]
            yield ImagePart()
            position = match.end()
    yield text[position:]
