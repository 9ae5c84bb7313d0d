"""Calls to the Hub: which failures pass by themselves, how long to wait, and how the others are told to a user.

huggingface_hub retries uploads, not the commit, ``create_repo``, ``repo_info`` and the card's validation.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from mmpref.errors import HubError
from mmpref.hub_cache import OFFLINE_IS_SET, why_unasked
from mmpref.log import logger, somebody_watches

T = TypeVar("T")
Failure = Literal["moved", "busy", "lost", "fatal"]

# The HTTP library's own base class (httpx or httpx2, as huggingface_hub's version has it): connection errors.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
CALL_ERRORS = (_HTTP_ERROR, OSError, RuntimeError, ValueError, KeyError)


class DamagedAnswer(OSError):
    """An answer with status 200 that is not what was asked for: cut short, or somebody else's page."""


_DAMAGED = (DamagedAnswer, json.JSONDecodeError, UnicodeDecodeError, KeyError)
"""What reading such an answer ends with."""


@dataclass(frozen=True)
class Retry:
    """How stubborn to be. Waits are in seconds; `longest_wait` bounds what the Hub itself may ask for."""

    attempts: int = 6
    first_wait: float = 1.0
    longest_backoff: float = 30.0
    longest_wait: float = 310.0


def failure_of(error: BaseException) -> Failure:
    """`moved`: the branch changed under us; `busy`: try later; `lost`: no answer, it may have happened."""
    if isinstance(error, OfflineModeIsEnabled):
        return "fatal"
    if not isinstance(error, HfHubHTTPError):
        return "lost" if isinstance(error, (_HTTP_ERROR, *_DAMAGED)) else "fatal"
    status = error.response.status_code
    if status in (409, 412):
        return "moved"
    if status in (408, 429):
        return "busy"
    # A gateway's error page says nothing about whether the Hub did it behind the gateway.
    return "lost" if status >= 500 else "fatal"


def requested_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the Hub asks to wait: `Retry-After` (seconds or a date), else an exhausted `RateLimit`."""
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    if value:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            return None
    spent = re.search(r"r=0;\s*t=(\d+)", headers.get("ratelimit", ""))
    return float(spent.group(1)) if spent else None


@contextlib.contextmanager
def quiet_unless_watched() -> Iterator[None]:
    """Keep huggingface_hub's progress bars off a stderr that nobody watches: it draws them regardless."""
    if somebody_watches() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


class Calls:
    """Runs calls for one repository: retries what passes, and turns the rest into a HubError.

    `name` and `endpoint` go into messages; `token` is only kept to be struck out of them.
    """

    def __init__(self, name: str, endpoint: str, token: str, retry: Retry) -> None:
        self.name, self.endpoint, self.retry = name, endpoint, retry
        self._token = token

    def run(self, what: str, action: Callable[[], T]) -> T:
        """Do `action`, which must be harmless to repeat. `what` is a verb phrase: "read the repository"."""
        for attempt in range(1, self.retry.attempts + 1):
            try:
                return action()
            except CALL_ERRORS as error:
                if failure_of(error) == "fatal" or attempt == self.retry.attempts:
                    raise self.explain(what, error) from error
                self.pause(what, error, attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def pause(self, what: str, error: Exception, attempt: int) -> None:
        """Wait before attempt `attempt` + 1; raises HubError where the Hub asks for longer than we wait."""
        backoff = self.retry.first_wait * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
        wait = min(backoff, self.retry.longest_backoff)
        requested = requested_wait(error.response.headers) if isinstance(error, HfHubHTTPError) else None
        if requested is not None:
            if requested > self.retry.longest_wait:
                raise HubError(
                    f"Could not {what} ({self.name}): the Hub asks to wait {requested:.0f} s.",
                    "Nothing is lost; run the same command again after that time.",
                ) from error
            wait = requested
        reason = self._reason(error)
        logger.info("could not %s (%s); trying again in %.1f s", what, reason, wait)
        time.sleep(wait)

    def _reason(self, error: BaseException) -> str:
        cause = error
        while cause.__cause__ is not None and not isinstance(cause, HfHubHTTPError):
            cause = cause.__cause__
        if isinstance(cause, HfHubHTTPError):
            message = (cause.server_message or "").replace("\n", "; ") or "no further word"
            text = f"the Hub answered {cause.response.status_code}: {message}"
        else:
            text = f"{type(cause).__name__}: {' '.join(str(cause).split())}"
        return text.replace(self._token, "<token>") if self._token else text

    def explain(self, what: str, error: BaseException) -> HubError:
        """The one-line error for a failure that will not pass by itself; the token is never in it."""
        hint = "Run the same command again: what is already uploaded is not sent twice."
        reason = self._reason(error)
        if isinstance(error, OfflineModeIsEnabled):
            reason = why_unasked()
            hint = "Unset it to reach the Hub." if reason == OFFLINE_IS_SET else hint
        elif isinstance(error, HfHubHTTPError):
            hints = {
                401: "Log in with `hf auth login`, or set HF_TOKEN to a valid token.",
                403: f"Use a token that may write to {self.name}.",
                404: f"Check that {self.name} exists and that your token may see it.",
            }
            hint = hints.get(error.response.status_code, hint)
        elif isinstance(error, _HTTP_ERROR):
            reason = f"{self.endpoint} did not answer ({reason})"
        elif isinstance(error, _DAMAGED):
            reason = f"what came from {self.endpoint} is not the Hub's answer ({reason})"
            hint = "Check the network: a proxy, or a page to sign in, may answer in the Hub's place."
        return HubError(f"Could not {what} ({self.name}): {reason}.", hint)
