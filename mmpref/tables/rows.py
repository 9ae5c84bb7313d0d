"""The one reader of rows: whatever a row of a known shape holds, it is a prompt, answers and image cells, or a reason.

The last assistant turn is the answer and everything before it the prompt, which must end in a user turn; turns after
the answer are left out, and so are turns of the assistant before the first of the user (as in LLaVA's own training).
Where a prompt column of its own ends in a turn of the assistant (TRL's form for it), that is a context: the beginning
of an answer, which the answers continue; white space at its end goes over to them.
Images belong to the first user turn and come before its text, as in LLaVA's own training and TRL's plain messages.
Reasons why a row cannot be used:
* ``empty-prompt``, ``empty-answer``: no text where there must be some, or no such turn
* ``no-rejected``: no rejected answer, where one is needed
* ``prompts-differ``: the rejected answer is to another prompt
* ``turn-order``: user and assistant do not take turns
* ``no-image``: text only
* ``image-placement``: an image in a later turn or amid the text, or not as many placeholders as images
* ``not-read``: something that the model would have to see or say, and that is not read: video, sound, tools, further
  images, reasoning, boxes, answers that a pair only names; or an answer that is labelled as a bad one
* ``malformed``: a cell that holds no text or messages

and of its images, which are read apart (`mmpref.tables.image_cells.read_images`):

* ``missing-image``: a path that no image root has
* ``image-url``: the address of another machine
* ``bad-image``: an image that is outside its root, corrupt, truncated, empty or too large
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmpref.errors import ImageError, brief
from mmpref.tables.cells import columns_of, image_cells, is_empty, is_missing, unpacked, unread_images
from mmpref.tables.headings import unfolded
from mmpref.tables.messages import (
    DEFAULT_PROMPT,
    MARK,
    QUESTIONS,
    REJECTED,
    WHOLE,
    Shape,
    Turn,
    Unusable,
    is_labelled_bad,
    named_answers,
    read_turns,
    rejected_column,
    shape_of,
    unfilled,
    unread_answers,
    unread_context,
    unread_media,
    with_input,
)
from mmpref.tables.transcript import unrendered
from mmpref.tables.turns import equal_turns, from_first_user, split_at_answer
from mmpref.types import Message

NO_IMAGE = "no-image"
"""Reason of a row of text only."""
NAME_IMAGES = "Name the column that has the images with --columns=image=COLUMN."
"""What to do where it is every row's."""
REJECTED_POLICY = "rejected_policy"
"""A second rejected answer, for averaged losses."""
IMAGES_MOVED, OPENING_DROPPED = "images_moved_first", "opening_turns_dropped"
PROMPT_GIVEN, FIRST_CAPTION, TEMPLATE_REMOVED = "prompt_given", "first_of_captions", "template_removed"
LAST_ANSWER = "last_of_several_answers"
"""What may have been changed in a row that is used; counted in what is made of it."""

_NO_WIDTH = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
"""A soft hyphen, a zero width space, a word joiner and a byte order mark; joiners of letters are seen."""


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be used.

    Args:
        reason: short and fixed, so that it can be counted.
        detail: what it is in this row; bounded in length.
        part: what it is that is not there: ``prompt``, ``images``, ``chosen``, ``rejected`` or ``rejected_policy``.
        column: where it would be.
    """

    reason: str
    detail: str
    part: str
    column: str


@dataclass(frozen=True)
class PreferenceRow:
    """A row as far as it can be read.

    Args:
        prompt: messages of plain text, which end in a user's or in a context (`mmpref.types.context_of`); images stand
            before the first user turn's text.
        chosen: the answer without white space around it; empty where there is none. So are the others. Behind a context
            it keeps the white space before it.
        images: its image cells.
        shape: the columns that hold prompt and answer.
        notes: what was changed: `IMAGES_MOVED`, `OPENING_DROPPED`, `PROMPT_GIVEN`, `FIRST_CAPTION`, `TEMPLATE_REMOVED`;
            or left aside: `LAST_ANSWER`, of a conversation whose earlier answers are a part of the prompt.
        unread: columns that look like rejected answers, or parts of the question, and are not read.
        faults: everything that is wrong.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    rejected_policy: str
    images: tuple[Any, ...]
    shape: Shape
    notes: tuple[str, ...]
    unread: tuple[str, ...]
    faults: tuple[Fault, ...]

    def fault(self, *answers: str) -> Fault | None:
        """The first thing that is wrong for somebody who needs these answers; None where the row is of use."""
        parts = {"prompt", "images", *answers}
        return next((fault for fault in self.faults if fault.part in parts), None)


def same_answer(first: str, second: str) -> bool:
    """Whether two answers differ in white space at most, in characters of no width, or in how accents are composed:
    nothing can be learned from such a pair."""
    return _visible(first).split() == _visible(second).split()


def _visible(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_NO_WIDTH))


def image_fault(error: ImageError) -> Fault:
    """Why an image cannot be used."""
    return Fault(getattr(error, "reason", "bad-image"), brief(str(error), 600), "images", "images")


def read_row(row: Mapping[str, Any], where: str) -> PreferenceRow:
    """Read a row of any known shape; one with a prompt and no answer is of a known shape too.

    Args:
        where: what to call it in errors.

    Raises:
        InputError: its columns are of no known shape.
    """
    row = unfolded(row)
    return _RowReader(row, shape_of(row, where)).result()


class _RowReader:
    """One row in the course of being read."""

    def __init__(self, row: Mapping[str, Any], shape: Shape) -> None:
        self.row, self.given, self.shape = row, row, shape
        self.prompt_column = shape[0] or "prompt"
        self.unread = unread_answers(row)
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        if not shape[0] and isinstance(captions := unpacked(row[shape[-1]]), list) and _are_texts(captions):
            self.row = {**row, shape[-1]: captions[0]}
            self.notes += [FIRST_CAPTION] if len(captions) > 1 else []
        self.seam, self.continues = "", False
        """White space at the end of a context, and whether there is one."""
        self.extra: list[Turn] = []
        """Turns of the answer column that stand before its answer."""

    def result(self) -> PreferenceRow:
        read, answer = self._split_conversation()
        self._check_answer(answer)
        prompt = self._checked_prompt(read)
        images = self._images(prompt, answer)
        if unread := unread_media(self.given):
            self._add("not-read", f"the row has {', '.join(unread)}, which mmpref does not read", "prompt", unread[0])
        rejected = self._rejected_answer("rejected", rejected_column(self.row), prompt)
        second = self._rejected_answer(REJECTED_POLICY, REJECTED_POLICY, prompt)
        said = self._answer_text(answer) if answer else ""
        if mark := unfilled(self.row, (*(turn.message.content for turn in prompt), said, rejected, second)):
            detail = f"{mark} stands for something in the column objects, which mmpref does not put in its place"
            self._add("not-read", detail, "prompt", "objects")
        whole = self.shape[0] in WHOLE or not is_empty(self.row.get("history"))
        if whole and any(turn.message.role == "assistant" for turn in prompt):
            self.notes.append(LAST_ANSWER)
        return PreferenceRow(
            tuple(turn.message for turn in prompt),
            said,
            rejected,
            second,
            tuple(images),
            self.shape,
            tuple(self.notes),
            (*self.unread, *unread_context(self.given)),
            tuple(self.faults),
        )

    def _answer_text(self, answer: Turn) -> str:
        text = answer.message.content
        return self.seam + text.rstrip() if self.continues and text.strip() else text.strip()

    def _add(self, reason: str, detail: str, part: str, column: str) -> None:
        self.faults.append(Fault(reason, brief(detail, 300), part, brief(column, 60)))

    def _turns(self, column: str, role: str, part: str) -> list[Turn] | None:
        try:
            return read_turns(self.row.get(column), role, column)
        except Unusable as unusable:
            self._add(unusable.reason, unusable.detail, part, column)
            return None

    def _split_conversation(self) -> tuple[list[Turn] | None, Turn | None]:
        """The prompt's turns, None where they cannot be read, and the answer."""
        first, last = self.shape[0], self.shape[-1]
        if len(self.shape) == 1:
            turns = self._turns(first, "user", "prompt")
            if turns is None:
                return None, None
            prompt, answer = split_at_answer(turns)
            self.extra = prompt
        else:
            before = self._prompt_turns(first)
            after = self._turns(last, "assistant", "chosen") if last else []
            if after is None or before is None:
                return before, None
            # Some preference sets repeat the prompt in the answer column.
            if len(after) > len(before) and equal_turns(after[: len(before)], before):
                after = after[len(before) :]
            turns, answer = split_at_answer(after)
            self.extra = turns if answer else []
            prompt = [*before, *self.extra]
        if any(turn.message.role == "system" for turn in prompt[:1]) or is_empty(self.row.get("system")):
            return prompt, answer
        system = self._turns("system", "system", "prompt")
        return None if system is None else [*(turn for turn in system if turn.message.content), *prompt], answer

    def _prompt_turns(self, column: str) -> list[Turn] | None:
        """The turns of a prompt column, with an instruction's ``input`` and earlier rounds (Alpaca's columns)."""
        if not column:
            self.notes.append(PROMPT_GIVEN)
            return [Turn(Message("user", DEFAULT_PROMPT))]
        if is_empty(self.row.get(column)) and self.row.get("chosen"):
            return []  # The prompt may be in the answer column; if not, it is empty.
        if isinstance(text := self.row.get(column), str) and (messages := unrendered(text)):
            self.row = {**self.row, column: messages}
            self.notes.append(TEMPLATE_REMOVED)
        turns = self._turns(column, "user", "prompt")
        more = self.row.get("input")
        if turns and column == "instruction" and isinstance(more, str) and more.strip():
            turns[-1] = with_input(turns[-1], more)
        rounds = unpacked(self.row.get("history"))
        if turns is None or is_empty(rounds) or rounds == []:
            return turns
        try:
            for exchange in reversed(rounds if isinstance(rounds, list) else [rounds]):
                if not isinstance(exchange, list) or len(exchange) != 2:
                    raise Unusable("malformed", "history is no list of questions and answers")
                turns = [
                    *read_turns(exchange[0], "user", "history"),
                    *read_turns(exchange[1], "assistant", "history"),
                    *turns,
                ]
        except Unusable as unusable:
            self._add(unusable.reason, unusable.detail, "prompt", "history")
            return None
        return turns

    def _check_answer(self, answer: Turn | None) -> None:
        column = self.shape[-1] or "chosen"
        if any(fault.part in ("chosen", "prompt") for fault in self.faults):
            return
        if answer is None or not (answer.message.content.strip() or answer.images):
            self._add("empty-answer", "", "chosen", column)
        elif named := named_answers(self.row, column):
            self._add(
                "not-read",
                f"{column} is {answer.message.content!r}, and the answers stand in {', '.join(named)}",
                "chosen",
                column,
            )
        elif is_labelled_bad(self.row, column):
            self._add(
                "not-read", "the answer is labelled as a bad one, and no chosen one stands beside it", "chosen", column
            )

    def _checked_prompt(self, prompt: list[Turn] | None) -> list[Turn]:
        """The prompt without an opening of the assistant's."""
        if prompt is None:
            return []
        column = self.prompt_column
        system, turns = (prompt[:1], prompt[1:]) if prompt and prompt[0].message.role == "system" else ([], prompt)
        start = next((i for i, turn in enumerate(turns) if turn.message.role != "assistant"), len(turns))
        if start and not any(turn.images for turn in turns[:start]):
            self.notes.append(OPENING_DROPPED)
            turns = turns[start:]
        turns = self._without_seam(turns)
        roles = [turn.message.role for turn in (turns[:-1] if self.continues else turns)]
        if not turns or not all(turn.message.content.strip() for turn in turns if turn.message.role == "user"):
            if not any(fault.part == "prompt" for fault in self.faults):
                self._add("empty-prompt", "", "prompt", column)
        elif roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
            every = [*roles, "assistant"] if self.shape[-1] else roles
            self._add("turn-order", ", ".join(every), "prompt", column)
        return [*system, *turns]

    def _without_seam(self, turns: list[Turn]) -> list[Turn]:
        """The turns of a prompt (no whole conversation); where they end in a context, without white space around it."""
        last = turns[-1] if turns and self.shape[0] in QUESTIONS and self.shape[-1] else None
        if last is None or last.message.role != "assistant" or not (text := last.message.content.strip()):
            return turns
        self.continues, self.seam = True, last.message.content[len(last.message.content.rstrip()) :]
        return [*turns[:-1], replace(last, message=Message("assistant", text))]

    def _images(self, prompt: Sequence[Turn], answer: Turn | None) -> list[Any]:
        """The row's image cells, from its messages and columns."""
        first = next((turn for turn in prompt if turn.message.role == "user"), None)
        cells = [part.cell for part in first.images] if first else []
        in_columns = image_cells(self.row)
        in_messages, bare = [cell for cell in cells if cell is not None], cells.count(None)
        others = [turn for turn in (*prompt, *([answer] if answer else [])) if turn is not first and turn.images]
        if not in_columns and not in_messages and not any(_has_cell(turn) for turn in others):
            columns = unread_images(self.given)
            mark = f"{MARK}, and " if bare else ""
            detail = (
                f"{', '.join(columns[:6])} is not read as an image"
                if columns
                else f"{mark}no image in the columns {columns_of(self.given)}"
            )
            self._add(NO_IMAGE, detail, "images", columns[0] if columns else "images")
        elif others:
            self._add("image-placement", f"{MARK} outside the first user turn", "images", self.prompt_column)
        elif first and first.image_amid_text:
            self._add("image-placement", f"{MARK} amid the text", "images", self.prompt_column)
        elif in_messages:
            left = iter(in_columns)
            placed = [cell if cell is not None else next(left, None) for cell in cells]
            if bare == len(in_columns) or (not bare and in_columns == in_messages):
                in_columns = placed
            else:
                self._add(
                    "image-placement",
                    f"{len(in_messages)} images in the messages beside {len(in_columns)} in columns",
                    "images",
                    self.prompt_column,
                )
        elif bare not in (0, len(in_columns)):
            self._add(
                "image-placement", f"{bare} placeholders for {len(in_columns)} images", "images", self.prompt_column
            )
        self.notes += [IMAGES_MOVED] if first and first.image_after_text else []
        return in_columns

    def _rejected_answer(self, part: str, column: str | None, prompt: Sequence[Turn]) -> str:
        """The rejected answer of a column: the text of its last assistant turn, which must be to the same prompt."""
        if column is None or is_missing(self.row.get(column)):
            columns = self.unread
            read = ", ".join(REJECTED) if part == "rejected" else part
            detail = f"{', '.join(columns[:6])} is not read; {read} are" if columns else ""
            self._add("no-rejected" if part == "rejected" else "no-second", detail, part, column or part)
            return ""
        turns = self._turns(column, "assistant", part)
        if turns is None:
            return ""
        turns, answer = split_at_answer(turns)
        if answer is None or not (text := self._answer_text(answer)):
            self._add("empty-answer", f"no text in {column}", part, column)
            return ""
        if answer.images:
            self._add("image-placement", f"{MARK} in {column}", part, column)
        before, extra = from_first_user(turns), from_first_user(self.extra)
        # Text alone, or one message, takes the place of the last answer of a conversation.
        alone = not before and (len(self.shape) == 1 or not extra)
        if not (alone or equal_turns(before, from_first_user(prompt)) or equal_turns(before, extra)):
            self._add("prompts-differ", f"{column} answers another prompt than {self.shape[-1]}", part, column)
            return ""
        return text


def _are_texts(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(text, str) for text in value)


def _has_cell(turn: Turn) -> bool:
    return any(part.cell is not None for part in turn.images)
