"""Reasoning is not the answer: blocks in which a model thinks aloud, taken off before anything is read in a reply.

A block stands between markers (``<think>`` and ``</think>`` by most models). Some chat templates open it in the prompt,
so that a reply only closes it. A block that never closes, or that nothing follows, is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from mmpref.errors import UsageError

Markers = tuple[tuple[str, str], ...]
"""What opens and what closes a block."""

MARKERS: Markers = (
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>"), ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"), ("<seed:think>", "</seed:think>"), ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
)  # fmt: skip
_AROUND = re.compile(
    r"</?answer>|</?conclusion>|<\|(?:begin|end)_of_box\|>|<\|(?:START|END)_RESPONSE\|>"
    r"|<\|channel\|>final<\|message\|>|<\|return\|>",
    re.I,
)
"""What some models put around their answer itself; the text between is the answer."""


@dataclass(frozen=True)
class Said:
    """A reply as it is read.

    Args:
        answer: without its reasoning; None where a block never closes, or nothing follows it.
        reasoned: it has a block.
        opened: the block was opened by the prompt: the reply only closes it.
    """

    answer: str | None
    reasoned: bool = False
    opened: bool = False


def markers(further: Sequence[str]) -> Markers:
    """The known markers and further ones, each given as ``OPEN CLOSE``.

    Raises:
        UsageError: an entry that is not two words.
    """
    pairs = [tuple(entry.split()) for entry in further]
    wrong = next((entry for entry, pair in zip(further, pairs, strict=True) if len(pair) != 2), None)
    if wrong is not None:
        raise UsageError(f"The markers {wrong!r} are not of the form 'OPEN CLOSE'.",
                         """Example: --set thinking='["<reason> </reason>"]'""")  # fmt: skip
    return (*((pair[0], pair[1]) for pair in pairs), *MARKERS)


def read(reply: str, known: Markers = MARKERS) -> Said:
    """A reply without its blocks. The first closing marker ends a block, however many opened it; one that closes
    nothing ends a block that the prompt, or the text so far, was in."""
    kept, start, inside, reasoned, opened = [], 0, -1, False, False
    for found in _pattern(known).finditer(reply):
        assert found.lastgroup is not None
        kind, opens = int(found.lastgroup[1:]), found.lastgroup[0] == "o"
        if inside < 0:
            if opens:
                kept.append(reply[start : found.start()])
                inside = kind
            else:
                opened |= not reasoned
                kept.clear()
        elif opens or kind != inside:
            continue
        else:
            inside = -1
        reasoned, start = True, found.end()
    if inside >= 0:
        return Said(None, True, opened)
    text = "".join([*kept, reply[start:]])
    answer = _AROUND.sub("", text)
    if reasoned or answer != text:
        answer = answer.strip()
    return Said(None if reasoned and not answer else answer, reasoned, opened)


def read_all(replies: Sequence[str | None], known: Markers = MARKERS) -> list[Said | None]:
    """Replies of one model whose prompts are not seen here: where any of them closes a block that it did not open, the
    prompt opens it for all, and a reply without any marker has not come to its answer."""
    said = [None if reply is None else read(reply, known) for reply in replies]
    if any(one and one.opened for one in said):
        return [Said(None, True, True) if one and not one.reasoned else one for one in said]
    return said


def opening(prompt: str, known: Markers = MARKERS) -> str:
    """The marker that a rendered prompt ends with, so that the reply begins inside a block; empty where there is
    none."""
    end = prompt.rstrip()
    return next((opens for opens, _ in known if end.endswith(opens)), "")


@cache
def _pattern(known: Markers) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<o{kind}>{re.escape(opens)})|(?P<c{kind}>{re.escape(closes)})"
                               for kind, (opens, closes) in enumerate(known)), re.I)  # fmt: skip
