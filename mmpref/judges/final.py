"""Replies as they count: without their reasoning, and missing where they were cut off before they ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mmpref import reasoning
from mmpref.judges.chat import Chat, OnReply, Query, Reply

_SHOWN = 80


class Final:
    """A chat model whose replies are what counts of them; each keeps what the model wrote in ``raw``.

    Args:
        chat: who is asked.
        markers: of its reasoning.
    """

    def __init__(self, chat: Chat, markers: reasoning.Markers = reasoning.MARKERS) -> None:
        self.chat, self.markers = chat, markers

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.chat.identity

    def ready(self) -> None:
        """As the chat model's own."""
        if ready := getattr(self.chat, "ready", None):
            ready()

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        def tell(number: int, reply: Reply) -> None:
            assert on_reply is not None
            on_reply(number, self.final(reply))

        return [self.final(reply) for reply in self.chat.ask(queries, tell if on_reply else None)]

    def final(self, reply: Reply) -> Reply:
        """What counts of a reply; a text of None where nothing does."""
        if reply.text is None:
            return reply
        said = reasoning.read(reply.text, self.markers)
        answer, error = said.answer, ""
        if reply.cut:
            bound = self.identity.get("max_tokens")
            limit = f"its limit of {bound} tokens" if bound else "its limit"
            answer, error = None, f"cut at {limit}, and ends with {reply.text[-_SHOWN:]!r}"
        elif answer is None:
            error = f"reasoning without an answer behind it, which ends with {reply.text[-_SHOWN:]!r}"
        return dataclasses.replace(reply, text=answer, error=error, raw=reply.text, reasoned=said.reasoned)
