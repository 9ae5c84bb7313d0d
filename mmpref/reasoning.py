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
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<thought>", "</thought>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel>", "<channel|>"),
    ("<unused94>", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
_AROUND = (
    ("<answer>", "</answer>"),
    ("<conclusion>", "</conclusion>"),
    ("<|begin_of_box|>", "<|end_of_box|>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)
"""What some models put around their answer itself; the last text between is the answer."""


@dataclass(frozen=True)
class ParsedReply:
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
        raise UsageError(
            f"The markers {wrong!r} are not of the form 'OPEN CLOSE'.",
            """Example: --set thinking='["<reason> </reason>"]'""",
        )
    return (*((pair[0], pair[1]) for pair in pairs), *MARKERS)


def read(reply: str, known: Markers = MARKERS) -> ParsedReply:
    """A reply without its blocks. The first closing marker ends a block, however many opened it; one that closes
    nothing ends a block that the prompt, or the text so far, was in."""
    outside, start, inside, reasoned, opened = [], 0, -1, False, False
    for match in _pattern(known).finditer(reply):
        assert match.lastgroup is not None
        kind, opens = int(match.lastgroup[1:]), match.lastgroup[0] == "o"
        if inside < 0:
            if opens:
                outside.append(reply[start : match.start()])
                inside = kind
            else:
                opened |= not reasoned
                outside.clear()
        elif opens or kind != inside:
            continue
        else:
            inside = -1
        reasoned, start = True, match.end()
    if inside >= 0:
        return ParsedReply(None, True, opened)
    text = "".join([*outside, reply[start:]])
    answer = _inside(text)
    if reasoned or answer != text:
        answer = answer.strip()
    return ParsedReply(None if reasoned and not answer else answer, reasoned, opened)


def read_all(replies: Sequence[str | None], known: Markers = MARKERS) -> list[ParsedReply | None]:
    """Replies of one model whose prompts are not seen here: where any of them closes a block that it did not open, the
    prompt opens it for all, and a reply without any marker has not come to its answer."""
    parsed = [None if reply is None else read(reply, known) for reply in replies]
    if any(reply and reply.opened for reply in parsed):
        return [ParsedReply(None, True, True) if reply and not reply.reasoned else reply for reply in parsed]
    return parsed


def opening(prompt: str, known: Markers = MARKERS) -> str:
    """The marker that a rendered prompt ends with, so that the reply begins inside a block; empty where there is
    none."""
    end = prompt.rstrip()
    return next((opens for opens, _ in known if end.endswith(opens)), "")


def marks(known: Markers = MARKERS) -> list[str]:
    """All texts that `read` looks for; those that are special tokens must be left in a reply."""
    return [mark for pair in (*known, *_AROUND) for mark in pair]


def _inside(text: str) -> str:
    """What stands between the marks around an answer; where they are empty, or stand there by themselves, the text
    without them."""
    between = [match[match.lastgroup or 0].strip() for match in _BETWEEN.finditer(text)]
    return next(filter(None, reversed(between)), "") or _MARKS.sub("", text)


_BETWEEN = re.compile(
    "|".join(
        f"{re.escape(opens)}(?P<a{kind}>.*?)(?:{re.escape(closes)}|\\Z)" for kind, (opens, closes) in enumerate(_AROUND)
    ),
    re.I | re.S,
)
_MARKS = re.compile("|".join(re.escape(mark) for pair in _AROUND for mark in pair), re.I)


@cache
def _pattern(known: Markers) -> re.Pattern[str]:
    return re.compile(
        "|".join(
            f"(?P<o{kind}>{re.escape(opens)})|(?P<c{kind}>{re.escape(closes)})"
            for kind, (opens, closes) in enumerate(known)
        ),
        re.I,
    )
