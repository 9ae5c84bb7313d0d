"""Replies as they count: without their reasoning, and missing where they were cut off before they ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmpref import reasoning
from mmpref.judges.chat import Chat, ChatWrapper, OnReply, Query, Reply

_SHOWN_CHARACTERS = 80


class FinalReplies(ChatWrapper):
    """A chat model whose replies are what counts of them; each keeps what the model wrote in ``raw``.

    Args:
        chat: who is asked.
        markers: of its reasoning.
    """

    def __init__(self, chat: Chat, markers: reasoning.Markers = reasoning.MARKERS) -> None:
        super().__init__(chat)
        self.markers = markers

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        def pass_on(number: int, reply: Reply) -> None:
            if on_reply:
                on_reply(number, self._final(reply))

        return [self._final(reply) for reply in self.chat.ask(queries, pass_on)]

    def _final(self, reply: Reply) -> Reply:
        """What counts of a reply; a text of None where nothing does."""
        if reply.text is None:
            return reply
        parts = reasoning.read(reply.text, self.markers)
        answer, error = parts.answer, ""
        if reply.cut:
            bound = self.identity.get("max_tokens")
            limit = f"its limit of {bound} tokens" if bound else "its limit"
            answer, error = None, f"cut at {limit}, and ends with {reply.text[-_SHOWN_CHARACTERS:]!r}"
        elif answer is None:
            error = f"reasoning without an answer behind it, which ends with {reply.text[-_SHOWN_CHARACTERS:]!r}"
        return dataclasses.replace(reply, text=answer, error=error, raw=reply.text, reasoned=parts.reasoned)
