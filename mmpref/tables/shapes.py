"""Which columns of a row hold its conversation, its answers, and what is not read.

A shape is the columns that hold the conversation up to the (chosen) answer: ``messages``, ``conversations``
(LLaVA-Instruct) or ``texts`` (the Cauldron, FineVision) whole, or a prompt and an answer column, each of them text or
messages, or a preference set's ``chosen`` with the prompt inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmpref.errors import InputError
from mmpref.tables._tar import IMAGE_ENDINGS, KEY
from mmpref.tables.cells import columns_of, is_empty, is_missing, unpacked
from mmpref.tables.image_cells import is_no_image

Shape = tuple[str, ...]

WHOLE = ("conversations", "messages", "conversation", "texts")
QUESTIONS = ("prompt", "question", "instruction", "query")
CHOSEN = ("chosen", "chosen_response", "chosen_answer")
ANSWERS = ("completion", "answer", "response", "output", "caption", "answers")
REJECTED = ("rejected", "rejected_response", "rejected_answer", "rejected_messages", "rejected_conversations")
CONTEXT = ("choices", "options", "hint", "context", "passage", "input")
MEDIA = (
    *("video", "videos", "video_path", "audio", "audios", "audio_path", "chosen_images", "rejected_images"),
    *("mp4", "webm", "mp3", "wav", "flac"),
)
"""What the model would have to see or hear beside images."""
SHAPES = (
    "prompt + completion (TRL conversational), messages, conversations (LLaVA-Instruct), texts (the Cauldron), or "
    "question + answer columns, with images or image; of preferences, also chosen + rejected, or rejected_response or "
    "rejected_messages (ms-swift). Published sets of other shapes are built by the method of their name, such as "
    "build-dataset --method vlfeedback"
)
_LOOKS_REJECTED = re.compile(r"reject|dispreferred|(^|_)(loser|losing|worse|negative|y_l)(_|$)", re.IGNORECASE)
_ABOUT_ANSWERS = re.compile(
    r".*_(model|models|score|scores|rating|ratings|reward|margin|source|id|ids|length|tokens|logps?|policy|type|reason)$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\s*(?:[A-Da-d]|\d)\s*")
_CANDIDATE = re.compile(r"(?:response|answer|completion|output|candidate)s?(?:_?(?:[a-d]|\d))?", re.IGNORECASE)
_FURTHER_IMAGE = re.compile(r"(?:image|img)s?_?\d{1,2}", re.IGNORECASE)


def shape_of(row: Mapping[str, Any], where: str, bare: bool = False) -> Shape:
    """The columns that hold the row's conversation.

    Args:
        bare: a prompt without any answer will do.

    Raises:
        InputError: none of the known ones.
    """
    whole, question, chosen, answer = (_first(names, row) for names in (WHOLE, QUESTIONS, CHOSEN, ANSWERS))
    if chosen:
        before = question or whole
        return (before, chosen) if before else (chosen,)
    if whole:
        return (whole,)
    if question and (answer or bare):
        return (question, answer) if answer else (question, "")
    raise InputError(
        f"{where} has the columns {columns_of(row)}: no shape that mmpref reads.", f"Known shapes: {SHAPES}."
    )


def rejected_column(row: Mapping[str, Any]) -> str | None:
    """The column of the rejected answer; where there are several, the first that has one."""
    filled = [name for name in REJECTED if not is_empty(row.get(name))]
    return filled[0] if filled else _first(REJECTED, row)


def unread_answers(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they held a rejected answer, hold something, and are not read."""
    read = {rejected_column(row), "rejected_policy"}
    return [
        name
        for name, value in row.items()
        if name not in read
        and name not in MEDIA
        and isinstance(value, str | list | Mapping)
        and value
        and _LOOKS_REJECTED.search(name)
        and not _ABOUT_ANSWERS.match(name)
    ]


def unread_context(row: Mapping[str, Any]) -> list[str]:
    """Columns that look like a part of the question (choices, a hint), hold something, and are not read."""
    read = "input" if "instruction" in row else None
    return [
        name for name in CONTEXT if name != read and isinstance(value := row.get(name), str | list | Mapping) and value
    ]


def named_answers(row: Mapping[str, Any], column: str) -> list[str]:
    """The columns that hold the answers, where the given one only names one of them, by a letter or a number."""
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int) or not _LABEL.fullmatch(str(value)):
        return []
    columns = [name for name in row if _CANDIDATE.fullmatch(name) and not is_missing(row[name])]
    listed = [name for name in columns if isinstance(row[name], list) and len(row[name]) > 1]
    return listed or (columns if len(columns) > 1 else [])


def unread_media(row: Mapping[str, Any]) -> list[str]:
    """Columns of video, sound, images of one of the answers, or further images (``image_2``), that hold something."""
    further = [name for name in row if _FURTHER_IMAGE.fullmatch(name)]
    return [
        name
        for name in (*MEDIA, *further)
        if isinstance(value := row.get(name), str | bytes | list | Mapping) and not is_no_image(value)
    ]


def unfolded(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of a webdataset, or one whose ``text`` is a JSON object (RLHF-V), with the columns inside of it in its own
    place; any other row as it is."""
    if KEY in row:
        inner = row.get("json")
        inner = inner if isinstance(inner, Mapping) else {}
        images = {name: cell for name, cell in row.items() if name.rpartition(".")[2] in IMAGE_ENDINGS}
        texts = {"caption": row["txt"]} if isinstance(row.get("txt"), str) else {}
        others = {name: cell for name, cell in row.items() if name not in images and name not in (KEY, "json", "txt")}
        cells = [cell for cell in images.values() if cell is not None]
        return {"id": row[KEY], **others, **texts, **inner, **({"images": cells} if cells else {})}
    if not any(name in row for name in (*WHOLE, *QUESTIONS, *CHOSEN)) and isinstance(row.get("text"), str):
        inner = unpacked(row["text"])
        if isinstance(inner, Mapping):
            return {**{name: value for name, value in row.items() if name != "text"}, **inner}
    return row


def _first(names: Iterable[str], row: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in row), None)
