"""Several turns: where the answer is among them, and whether they are the same."""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.tables.messages import Turn


def split_at_answer(turns: list[Turn]) -> tuple[list[Turn], Turn | None]:
    """The turns before the assistant's last, and that one; all turns and None where the assistant says nothing."""
    last = next((i for i in reversed(range(len(turns))) if turns[i].message.role == "assistant"), None)
    return (turns, None) if last is None else (turns[:last], turns[last])


def from_first_user(turns: Sequence[Turn]) -> list[Turn]:
    """The turns from the first of the user's, without what the system says."""
    spoken = [turn for turn in turns if turn.message.role != "system"]
    return spoken[next((i for i, turn in enumerate(spoken) if turn.message.role == "user"), len(spoken)) :]


def equal_turns(some: Sequence[Turn], others: Sequence[Turn]) -> bool:
    """Whether these are the same turns, however their images are written."""
    return [(turn.message.role, turn.message.content.strip()) for turn in some] == [
        (turn.message.role, turn.message.content.strip()) for turn in others
    ]
