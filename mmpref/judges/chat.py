"""The seam of models that are asked in words: queries in, replies out, in order. A failed reply is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mmpref.types import ImageData, Message

OnReply = Callable[[int, "Reply"], None]
"""Told of every reply as it comes: the query's number, and the reply."""


@dataclass(frozen=True)
class Query:
    """One request.

    Args:
        messages: turns that end with the user's; images belong to the first user turn.
        images: encoded.
        repeat: asks the same again where it differs: a cached reply answers only the same repeat.
        seed: of the server's random stream, where the reply is sampled; None leaves it to the server.
    """

    messages: tuple[Message, ...]
    images: tuple[ImageData, ...] = ()
    repeat: int = 0
    seed: int | None = None


@dataclass(frozen=True)
class Reply:
    """One answer.

    Args:
        text: None where the request failed; then it is missing, whatever it was asked for.
        error: why.
        prompt_tokens, completion_tokens: as the model's server counts them; of a cached reply, what it took at first.
        cached: it was answered before, and cost nothing now.
        cut: it was cut at the limit of its length.
        raw: as the model wrote it, where ``text`` is what counts of it (`mmpref.judges.final_replies`).
        reasoned: it has a block of reasoning.
        unwrapped: of a rewritten answer, that something around it was taken off (`mmpref.judges.unwrapping`).
        refused: of one that was to be rewritten, that it was refused (`mmpref.refusals`); there is no text then.
    """

    text: str | None
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False
    cut: bool = False
    raw: str | None = None
    reasoned: bool = False
    unwrapped: bool = False
    refused: bool = False


class Chat(Protocol):
    """A model that is asked in words."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides a reply beside the query: at least ``model``, and how it decodes. No secrets."""
        ...

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        """A reply for each query, in order.

        Raises:
            ModelError: the model cannot be reached at all, so that nothing would come of going on.
        """
        ...


@runtime_checkable
class Reachable(Protocol):
    """What a chat model can have that may not be there."""

    def ready(self) -> None:
        """Before anything is done for it.

        Raises:
            ModelError: it cannot be reached.
        """
        ...


class ChatWrapper:
    """Another chat model, whose replies come on differently."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.chat.identity

    def ready(self) -> None:
        """As the wrapped model's own, where it has one."""
        if isinstance(self.chat, Reachable):
            self.chat.ready()


@dataclass(frozen=True)
class ChatSettings:
    """How a model is asked.

    Args:
        temperature: 0 is greedy.
        max_tokens: bound on the length of a reply.
        concurrency: requests in flight at a time. It decides no reply.
        retries: of a request that meets a rate limit, a broken server or a time-out, each after a longer wait.
        timeout: seconds that one try may take.
        revision: of a model behind an endpoint, whose weights may change under its name: any word; replies are kept
            apart by it.
        thinking: markers of reasoning beside the known ones, each ``OPEN CLOSE`` (`mmpref.reasoning`).
        top_p, top_k, repetition_penalty: of sampling, by the names and units of `mmpref.vlm.decoding`; None leaves them
            to the server.
        exact: give up on a server that refuses one of these, or the temperature, where it would change something,
            instead of going by the server's own.
    """

    temperature: float = 0.0
    max_tokens: int = 1024
    concurrency: int = 8
    retries: int = 5
    timeout: float = 120.0
    revision: str | None = None
    thinking: tuple[str, ...] = ()
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    exact: bool = False


def count_usage(replies: Iterable[Reply]) -> dict[str, float]:
    """Counts that add up over replies: ``requests``, ``failed`` (which brought no text at all), ``prompt_tokens`` and
    ``completion_tokens``."""
    replies = list(replies)
    return {
        "requests": len(replies),
        "failed": sum(reply.text is None and reply.raw is None for reply in replies),
        "prompt_tokens": sum(reply.prompt_tokens for reply in replies),
        "completion_tokens": sum(reply.completion_tokens for reply in replies),
    }
