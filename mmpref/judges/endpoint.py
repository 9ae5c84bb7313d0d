"""An OpenAI-compatible endpoint: many requests in flight but not too many, patient with what passes, and no further.

vLLM, `transformers serve`, OpenAI and most providers speak this protocol. The key is ``$MMPREF_API_KEY``, else
``$OPENAI_API_KEY``; it goes into the request's header and nowhere else.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mmpref.errors import ImageError, ModelError
from mmpref.judges.chat import ChatSettings, OnReply, Query, Reply
from mmpref.judges.dialect import Dialect, changes_something, load_dialect, save_dialect
from mmpref.judges.moderation import is_moderated
from mmpref.judges.request_images import data_url
from mmpref.log import logger

if TYPE_CHECKING:
    import openai

_CUT_REASONS = {"length", "max_tokens", "max_output_tokens", "model_length"}
"""Finish reasons of a reply that its limit cut off, as servers call them."""
MAX_FAILURES = 20
"""Replies in a row that may fail, each after all its retries, before the endpoint counts as gone."""


class Endpoint:
    """A model behind a URL. Retries, back-off and the server's own wishes for it are the openai client's.

    Args:
        url: the API's root, such as ``http://127.0.0.1:8000/v1``.
        model: as the server calls it.
    """

    def __init__(self, url: str, model: str, settings: ChatSettings | None = None) -> None:
        import openai

        self._settings = settings or ChatSettings()
        self.url, self.model = url, model
        key = os.environ.get("MMPREF_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        self._client = openai.OpenAI(
            base_url=url, api_key=key, timeout=self._settings.timeout, max_retries=self._settings.retries
        )
        self._failures, self._last_failure = 0, ""
        self._lock = threading.Lock()
        self._dialect = load_dialect(url, model)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The temperature is None where the server takes none but its own."""
        s = self._settings
        temperature = s.temperature if self._dialect.temperature else None
        identity = {"model": self.model, "url": self.url, "temperature": temperature, "max_tokens": s.max_tokens}
        more = {"revision": s.revision, "top_p": s.top_p, "top_k": s.top_k, "repetition_penalty": s.repetition_penalty}
        return {**identity, **{name: value for name, value in more.items() if value is not None}}

    def not_sent(self, seed: int | None = None) -> list[str]:
        """Parameters of the settings that the server has refused, so that they are not sent, and maybe the seed."""
        return list(self._dialect.not_sent(self._settings, seed))

    def ready(self) -> None:
        """Whether anybody listens there.

        Raises:
            ModelError: nobody does.
        """
        address = urlsplit(self.url)
        port = address.port or (443 if address.scheme == "https" else 80)
        try:
            socket.create_connection((address.hostname or "", port), timeout=10).close()
        except OSError as error:
            raise ModelError(
                f"Nobody answers at {self.url} ({error.strerror or error}).", "Start the server, or check the URL."
            ) from error

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        replies: list[Reply | None] = [None] * len(queries)
        self._failures = min(self._failures, MAX_FAILURES - 1)  # asked again after it was given up, it has one more try
        executor = ThreadPoolExecutor(self._settings.concurrency)
        try:
            futures = {executor.submit(self._reply, query): number for number, query in enumerate(queries)}
            for future in as_completed(futures):
                number, reply = futures[future], future.result()
                replies[number] = reply
                if on_reply:
                    on_reply(number, reply)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        return [reply for reply in replies if reply is not None]

    def _reply(self, query: Query) -> Reply:
        import openai

        self._refuse_gone()
        try:
            reply = _read_completion(self._completion(_messages(query), query.seed))
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            if is_moderated(error):
                return _refused(error)
            raise ModelError(
                f"{self.url} refuses access to {self.model} (HTTP {error.status_code}).",
                "Set MMPREF_API_KEY or OPENAI_API_KEY to a valid key.",
            ) from None
        except openai.NotFoundError as error:
            raise ModelError(
                f"{self.url} knows no model {self.model!r}: {_short_message(error)}",
                "An endpoint is given as URL#MODEL, its URL mostly ends in /v1.",
            ) from None
        except openai.APITimeoutError:
            return self._failed(f"no answer within {self._settings.timeout:g} s")
        except openai.APIConnectionError as error:
            raise ModelError(
                f"{self.url} cannot be reached: {_short_message(error.__cause__ or error)}.",
                "Start the server or check the URL; the same command goes on.",
            ) from None
        except (openai.RateLimitError, openai.InternalServerError) as error:
            return self._failed(f"HTTP {error.status_code}: {_short_message(error)}")
        except openai.APIStatusError as error:  # this request is refused, such as by a content filter
            return _refused(error)
        except ImageError as error:
            return Reply(None, str(error))
        except (openai.APIError, ValueError, TypeError, AttributeError, LookupError) as error:
            return self._failed(f"no chat completion: {_short_message(error)}")
        with self._lock:
            self._failures = 0
        return reply

    def _completion(self, messages: list[Any], seed: int | None) -> Any:
        """What the server sends. Where it refuses a parameter by name, the other dialect is tried, once. Each request
        adapts by itself: of those in flight together none knows yet what the others are refused.

        Raises:
            ModelError: it refuses a parameter that the settings want to be exact.
        """
        import openai

        dialect, first = self._dialect, None
        refused: set[Dialect] = set()
        while True:
            self._refuse_inexact(dialect, seed)
            sent = dialect.parameters(self._settings, seed)
            try:
                # Some are not OpenAI's: its client hands them on as they are.
                completion = self._client.chat.completions.create(model=self.model, messages=messages, extra_body=sent)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = f"{_words(error)} {error.param}"
                if not dialect.is_refused_by(refusal, sent):  # it takes the parameters, and refuses something else
                    self._set_dialect(dialect)
                    raise
                refused.add(dialect)
                first, dialect = first or error, dialect.alternative(refusal, sent)
                if dialect in refused:
                    raise first from None
                continue
            self._set_dialect(dialect)
            return completion

    def _refuse_inexact(self, dialect: Dialect, seed: int | None) -> None:
        if not self._settings.exact:
            return
        for name, value in dialect.not_sent(self._settings, seed).items():
            if changes_something(name, value):
                raise ModelError(
                    f"{self.url} takes no {name} for {self.model}, and {value:g} is asked for.",
                    "Ask a server that takes it, such as vLLM's, or load the model here.",
                )

    def _set_dialect(self, dialect: Dialect) -> None:
        with self._lock:
            if dialect == self._dialect:
                return
            self._dialect = dialect
            save_dialect(self.url, self.model, dialect)
        if not dialect.temperature:
            logger.warning(
                "Warning: %s takes no temperature for %s: its replies are sampled at its own.", self.url, self.model
            )
        if dialect.left_out:
            names = ", ".join(dialect.left_out)
            logger.warning("Warning: %s takes no %s for %s: its own counts.", self.url, names, self.model)

    def _failed(self, why: str) -> Reply:
        with self._lock:
            self._failures, self._last_failure = self._failures + 1, why
        self._refuse_gone()
        return Reply(None, why)

    def _refuse_gone(self) -> None:
        """Of all threads: none asks on while another's error is still to be seen.

        Raises:
            ModelError: too many requests in a row have failed.
        """
        if self._failures >= MAX_FAILURES:
            raise ModelError(
                f"{self.url} has failed {MAX_FAILURES} requests in a row; the last: {self._last_failure}.",
                "What was answered is kept: the same command goes on.",
            )


def _refused(error: openai.APIStatusError) -> Reply:
    """No answer, for what stands in the request."""
    return Reply(None, f"HTTP {error.status_code}: {_short_message(error)}")


def _short_message(error: BaseException) -> str:
    """A server's words, bounded. Clients put no keys into them."""
    return " ".join(_words(error).split())[:200]


def _words(error: BaseException) -> str:
    """What an error says, and the detail that servers of FastAPI give, which openai's client leaves out."""
    body = getattr(error, "body", None)
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if isinstance(detail, list):  # of its own checks: not what was sent, which stands there too
        detail = "; ".join(f"{one.get('loc')} {one.get('msg')}" for one in detail if isinstance(one, Mapping))
    return f"{error} {detail}" if detail else str(error)


def _read_completion(completion: Any) -> Reply:
    """The first choice's text and the counts.

    Raises:
        ValueError, TypeError, AttributeError, LookupError: it is no chat completion.
    """
    choice, counted = completion.choices[0], completion.usage
    text = choice.message.content
    if isinstance(text, list):  # parts, of which some may be reasoning
        text = "".join(part["text"] for part in text if part.get("type") == "text")
    counts = (counted.prompt_tokens or 0, counted.completion_tokens or 0) if counted else (0, 0)
    if not isinstance(text, str):
        return Reply(None, f"no text (finish reason {choice.finish_reason})", *counts)
    reason = str(choice.finish_reason).lower()
    if reason == "content_filter":
        return Reply(None, f"stopped by the server's content filter after {text[:80]!r}", *counts)
    return Reply(text, "", *counts, cut=reason in _CUT_REASONS)


def _messages(query: Query) -> list[Any]:
    messages: list[Any] = []
    left = query.images
    for message in query.messages:
        content: Any = message.content
        if message.role == "user" and left:
            parts = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in left]
            content = [*parts, {"type": "text", "text": message.content}]
            left = ()
        messages.append({"role": message.role, "content": content})
    return messages
