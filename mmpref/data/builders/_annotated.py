"""What the methods share that ask an annotator: how it is asked, and what that took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.data.builder import Context
from mmpref.errors import UsageError
from mmpref.reasoning import markers
from mmpref.types import Example, Skip

if TYPE_CHECKING:
    from mmpref.judges.chat import ChatSettings, Reply


@dataclass(frozen=True)
class AnnotatorSettings:
    """How the annotator is asked.

    Args:
        instruction: a template of your own, in place of the method's; ``--prompt-file`` reads it from a file.
        reply_tokens: bound on a reply; None is the method's own.
        reply_temperature: 0 is greedy.
        reply_revision: any word that tells apart what an endpoint serves under one name; replies are kept by it.
        reply_thinking: markers of reasoning beside the known ones, each ``OPEN CLOSE`` (`mmpref.reasoning`).
    """

    instruction: str | None = None
    reply_tokens: int | None = None
    reply_temperature: float = 0.0
    reply_revision: str | None = None
    reply_thinking: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.reply_tokens is not None and self.reply_tokens < 1:
            raise UsageError(f"builder.reply_tokens is {self.reply_tokens}; it must be at least 1.")
        if not self.reply_temperature >= 0:
            raise UsageError(f"builder.reply_temperature is {self.reply_temperature}; it must be at least 0.")
        markers(self.reply_thinking)


def chat_settings(context: Context, settings: AnnotatorSettings, tokens: int) -> ChatSettings:
    """As `mmpref.judges.chat.ChatSettings`.

    Args:
        tokens: the method's own bound on replies.
    """
    from mmpref.judges.chat import ChatSettings

    return ChatSettings(
        settings.reply_temperature,
        settings.reply_tokens or tokens,
        context.concurrency,
        revision=settings.reply_revision,
        thinking=settings.reply_thinking,
    )


def not_rewritten(example: Example, reply: Reply) -> Skip:
    """Why an example has no pair whose answer nobody rewrote."""
    return Skip(example.id, "refused" if reply.refused else "failed-rewrite", reply.error or "the new answer is empty")
