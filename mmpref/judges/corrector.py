"""Correcting an answer with as few changes as it takes, so that it says only what the image bears out.

As OPA-DPO has GPT-4V revise a policy's own answers (arXiv 2501.09695); the words of the instruction are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mmpref.judges.annotator import refuse_instruction
from mmpref.judges.chat import Chat, ChatSettings, Reply
from mmpref.judges.plugins import annotator_plugin
from mmpref.judges.resolve import open_chat
from mmpref.judges.rewriter import ChatRewriter, Rewriting

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

INSTRUCTION = """\
You see an image, a question about it, and an answer that may contain mistakes. Check every statement of the answer \
against the image: objects, numbers, colours and other attributes, positions, actions, relations, and written text. \
Correct what the image does not bear out.

- Change as few words as possible. Keep every statement that is true exactly as it is written, with its style and order.
- Put what the image shows in the place of what is false. Leave a statement out only where nothing true fits there.
- Add nothing else. An answer without a mistake stays as it is.
- A short answer (a word, a number, yes or no) stays a short answer.
- No notes or explanations: write the corrected answer and nothing else.

Question: {prompt}
Answer: {answer}
Corrected:"""
"""The default template; ``{prompt}`` and ``{answer}`` are replaced."""


class Corrector(Protocol):
    """Somebody who corrects answers."""

    def correct(self, answers: Sequence[Rewriting]) -> list[Reply]:
        """A reply for each, in order; its text is the corrected answer.

        Raises:
            ModelError: it cannot be reached.
        """
        ...


class ChatCorrector:
    """A vision-language model that is shown image, question and answer.

    Args:
        instruction: template with ``{prompt}`` and ``{answer}``.
    """

    def __init__(self, chat: Chat, instruction: str | None = None) -> None:
        self._rewriter = ChatRewriter(chat, instruction or INSTRUCTION, show_images=True)

    def correct(self, answers: Sequence[Rewriting]) -> list[Reply]:
        return self._rewriter.rewrite(answers)


def open_corrector(
    spec: str,
    settings: ChatSettings | None = None,
    *,
    instruction: str | None = None,
    policy: Callable[[], Policy] | None = None,
) -> Corrector:
    """Somebody who corrects answers, named as `mmpref.judges.resolve.open_annotator` has it (but no function).

    Raises:
        UsageError: the word names nobody, or an instruction is given to somebody who takes none.
    """
    corrector: Corrector | None = annotator_plugin(spec, "correct")
    if corrector is None:
        return ChatCorrector(open_chat(spec, settings or ChatSettings(), policy), instruction)
    refuse_instruction(spec, instruction)
    return corrector
