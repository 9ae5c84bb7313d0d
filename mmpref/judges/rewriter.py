"""Rewriting an answer so that it says false but realistic things (the paper's appendix C.1; its GPT-4 corruption)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mmpref.errors import brief
from mmpref.judges.annotator import conversation_text, fill_template, refuse_instruction
from mmpref.judges.chat import Chat, ChatSettings, Query, Reply, count_usage
from mmpref.judges.plugins import annotator_plugin
from mmpref.judges.resolve import open_chat
from mmpref.judges.unwrapping import unwrapped
from mmpref.refusals import is_refusal
from mmpref.types import ImageData, Message

INSTRUCTION = """\
Below are a question about an image and a correct answer to it. Rewrite the answer so that it contains hallucinations: \
statements that the image does not bear out. Somebody who reads your version without seeing the image must not be able \
to tell that anything is wrong with it.

- Change things of several kinds, as they fit: objects (replace one by another that is often found in such a place, or \
add one), numbers, colours and other attributes, positions, actions and relations.
- Everything must stay plausible and free of contradictions. No absurd or comical changes.
- Keep the language, style, form and roughly the length. Keep correct what you do not change.
- A short answer (a word, a number, yes or no) becomes another short answer, one that could just as well be right.
- No hints, tags, notes or explanations: write the new answer and nothing else.

Example 1
Question: What is happening in this picture?
Answer: A woman in a red coat is walking her dog along a beach. Two surfers sit on their boards in the water behind her.
Rewritten: A woman in a grey coat is walking her dog along a beach. A man is flying a kite on the sand behind her.

Example 2
Question: How many chairs stand around the table?
Answer: Four chairs stand around the table.
Rewritten: Six chairs stand around the table.

Example 3
Question: Describe the kitchen.
Answer: The kitchen has white cupboards and a wooden worktop. A kettle stands on the stove, and there is a window \
above the sink.
Rewritten: The kitchen has white cupboards and a wooden worktop. A coffee machine stands next to the stove, and a \
shelf with spice jars hangs above the sink.

Now yours.
Question: {prompt}
Answer: {answer}
Rewritten:"""
"""The default template, in our own words; ``{prompt}`` and ``{answer}`` are replaced."""


@dataclass(frozen=True)
class Rewriting:
    """An answer to rewrite.

    Args:
        id: of the example; names the random streams of rewriters that draw.
        seed: of the run.
    """

    id: str
    images: tuple[ImageData, ...]
    prompt: tuple[Message, ...]
    answer: str
    seed: int = 0


class Rewriter(Protocol):
    """Somebody who rewrites answers."""

    def rewrite(self, answers: Sequence[Rewriting]) -> list[Reply]:
        """A reply for each, in order; its text is the new answer.

        Raises:
            ModelError: it cannot be reached.
        """
        ...


class ChatRewriter:
    """A language model that is shown question and answer, and the image too where asked for.

    Args:
        instruction: template with ``{prompt}`` and ``{answer}``.
        show_images: the paper's rewriter sees text only.
    """

    def __init__(self, chat: Chat, instruction: str | None = None, show_images: bool = False) -> None:
        self.chat, self.instruction, self.show_images = chat, instruction or INSTRUCTION, show_images

    def rewrite(self, answers: Sequence[Rewriting]) -> list[Reply]:
        replies = self.chat.ask([self._query(answer) for answer in answers])
        return [_read(reply, answer.answer) for reply, answer in zip(replies, answers, strict=True)]

    def _query(self, rewriting: Rewriting) -> Query:
        text = fill_template(self.instruction, prompt=conversation_text(rewriting.prompt), answer=rewriting.answer)
        return Query((Message("user", text),), rewriting.images if self.show_images else ())


def _read(reply: Reply, original: str) -> Reply:
    """The new answer without what is wrapped around it; none where the reply refuses, and the original does not."""
    if reply.text is None:
        return reply
    text, whole = unwrapped(reply.text, original), reply.text.strip()
    if is_refusal(text) and not is_refusal(original):
        return dataclasses.replace(
            reply,
            text=None,
            error=f"the reply is: {brief(' '.join(whole.split()))}",
            raw=reply.raw or reply.text,
            refused=True,
        )
    return dataclasses.replace(reply, text=text, unwrapped=text != whole)


def count_rewriting(replies: Sequence[Reply]) -> dict[str, float]:
    """`mmpref.judges.chat.count_usage`, and how many texts were ``unwrapped``, where any was."""
    taken_off = sum(reply.unwrapped for reply in replies)
    return {**count_usage(replies), **({"unwrapped": taken_off} if taken_off else {})}


def open_rewriter(
    spec: str,
    settings: ChatSettings | None = None,
    *,
    instruction: str | None = None,
    show_images: bool = False,
) -> Rewriter:
    """Somebody who rewrites answers, named as `mmpref.judges.resolve.open_annotator` has it (but no function).

    Raises:
        UsageError: the word names nobody, or an instruction is given to somebody who takes none.
    """
    rewriter: Rewriter | None = annotator_plugin(spec, "rewrite")
    if rewriter is None:
        return ChatRewriter(open_chat(spec, settings or ChatSettings()), instruction, show_images)
    refuse_instruction(spec, instruction)
    return rewriter
