"""Checking an answer claim by claim: is each statement true of the image? (RLAIF-V, arXiv 2405.17220)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mmpref.judges.annotator import conversation_text, fill_template, refuse_instruction
from mmpref.judges.chat import Chat, ChatSettings, Query, Reply, count_usage
from mmpref.judges.final_replies import FinalReplies
from mmpref.judges.local import LocalChat
from mmpref.judges.plugins import annotator_plugin
from mmpref.judges.resolve import open_chat
from mmpref.judges.verdicts import yes_or_no
from mmpref.types import ImageData, Message

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

QUESTION = """\
Is the following statement about the image true?

{claim}

Answer with yes or no."""
"""Asked of every claim; ``{claim}`` is replaced."""

SPLITTING = """\
Below are a question about an image and an answer to it. List every single fact that the answer states about the \
image, each as one short sentence that can be understood by itself (no pronouns, one fact a sentence). Leave out \
opinions, greetings and whatever says nothing of the image. Write one fact a line, each line beginning with "- ". If \
there is none, write: none

Question: {prompt}
Answer: {answer}
Facts:"""
"""Asked of whoever splits answers into claims; ``{prompt}`` and ``{answer}`` are replaced."""

CHECK_TOKENS = 256
"""Bound on the reply about a claim: those who say more than yes or no are not to be cut, since a cut reply is none."""
_LINE = re.compile(r"^[^\S\n]*(?:[-*•]|\d+[.)])\s+(.*\S)\s*$", re.M)


@dataclass(frozen=True)
class Claim:
    """One statement about images."""

    images: tuple[ImageData, ...]
    text: str


@dataclass(frozen=True)
class ClaimVerdict:
    """What came of checking a claim.

    Args:
        probability: that it is true, or 0 or 1 from somebody who says yes or no; None where it is missing.
        usage: `mmpref.judges.chat.count_usage` of what was asked.
    """

    probability: float | None
    usage: dict[str, float]


class Checker(Protocol):
    """Somebody who checks claims."""

    def check(self, claims: Sequence[Claim]) -> list[ClaimVerdict]:
        """A finding for each, in order.

        Raises:
            ModelError: it cannot be reached.
        """
        ...


class ChatChecker:
    """A vision-language model that is asked about every claim: for the probability of yes where it runs here, in words
    behind an endpoint.

    Args:
        instruction: template with ``{claim}``.
    """

    def __init__(self, chat: Chat, instruction: str | None = None) -> None:
        self.chat, self.instruction = chat, instruction or QUESTION

    def check(self, claims: Sequence[Claim]) -> list[ClaimVerdict]:
        queries = [
            Query((Message("user", fill_template(self.instruction, claim=claim.text)),), claim.images)
            for claim in claims
        ]
        chat = self.chat.chat if isinstance(self.chat, FinalReplies) else self.chat
        if isinstance(chat, LocalChat) and not chat.reasons_first:
            return [
                ClaimVerdict(true, count_usage([Reply(None if true is None else "")])) for true in chat.yes(queries)
            ]
        return [ClaimVerdict(_truth(reply), count_usage([reply])) for reply in self.chat.ask(queries)]


def _truth(reply: Reply) -> float | None:
    """1 for a reply that says yes, 0 for no; None for any other."""
    answer = yes_or_no(reply.text or "")
    return None if answer is None else float(answer)


class ChatSplitter:
    """A language model that lists the facts of an answer."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def __call__(self, answers: Sequence[tuple[tuple[Message, ...], str]]) -> list[tuple[list[str] | None, Reply]]:
        """The facts of each answer, None where the reply is no list, and the reply.

        Args:
            answers: each with its prompt before it.
        """
        texts = [
            fill_template(SPLITTING, prompt=conversation_text(prompt), answer=answer) for prompt, answer in answers
        ]
        replies = self.chat.ask([Query((Message("user", text),)) for text in texts])
        return [(None if reply.text is None else claims_in(reply.text), reply) for reply in replies]


def claims_in(reply: str) -> list[str] | None:
    """The facts that a reply lists, each once; None where it is no list."""
    if lines := _LINE.findall(reply):
        return list(dict.fromkeys(lines))
    return [] if reply.strip().strip(".").lower() == "none" else None


def open_checker(
    spec: str,
    settings: ChatSettings | None = None,
    *,
    instruction: str | None = None,
    policy: Callable[[], Policy] | None = None,
) -> Checker:
    """Somebody who checks claims, named as `mmpref.judges.resolve.open_annotator` has it (but no function).

    Raises:
        UsageError: the word names nobody, or an instruction is given to somebody who takes none.
    """
    checker: Checker | None = annotator_plugin(spec, "check")
    if checker is None:
        return ChatChecker(open_chat(spec, settings or ChatSettings(max_tokens=CHECK_TOKENS), policy), instruction)
    refuse_instruction(spec, instruction)
    return checker
