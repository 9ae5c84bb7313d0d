"""Judges that tasks of lmms-eval ask by their own code (MathVista has one read every answer): who they are, and that a
reply that failed is no wrong answer.

Which model it is says the environment (``API_TYPE``, ``MODEL_VERSION``, ``OPENAI_API_URL``, as lmms-eval documents). It
is looked up in the task's code, so that results name it. That code takes a reply that failed for an empty one, which
scores 0: here the answer has no verdict and is missing, and a judge that is gone ends the evaluation, whose answers are
kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpref.errors import ModelError, RunError, UsageError, reason_of
from mmpref.judges.chat import Reply
from mmpref.judges.endpoint import MAX_FAILURES
from mmpref.judges.moderation import is_moderated
from mmpref.judges.reply_cache import read_reply, reply_file, write_reply

_URLS = ("base_url", "api_url", "api_endpoint")
"""What lmms-eval's judges call the server that they ask: OpenAI's; local and asynchronous ones; Azure's."""
_NO_ACCESS = {401, 403, 404}
"""Of HTTP, of a server that would answer no other request either."""
_REFUSED = {400, 422}
"""Of HTTP, of a server that refuses one request for what stands there."""
_UNREACHED = {"ConnectionError", "ConnectError", "APIConnectionError"}
"""Of Python, requests and botocore; of httpx; of openai."""


def judges_of(functions: Iterable[Any]) -> list[Any]:
    """lmms-eval's judges that functions of a task reach: what they, or functions that they call, name, or what that
    holds as its ``server``."""
    from lmms_eval.llm_judge.base import ServerInterface

    found: dict[int, Any] = {}
    seen: set[int] = set()
    for function in functions:
        for value in _named(getattr(function, "func", function), seen):
            for held in (value, inspect.getattr_static(value, "server", None)):
                if isinstance(held, ServerInterface):
                    found[id(held)] = held
    return [*found.values()]


def _named(function: Any, seen: set[int]) -> Iterator[Any]:
    """What a function of Python names of its module, and what functions among that name of theirs."""
    if not inspect.isfunction(function) or id(function) in seen:
        return
    seen.add(id(function))
    codes = [function.__code__]
    for code in codes:
        codes += [inner for inner in code.co_consts if inspect.iscode(inner)]
    for name in dict.fromkeys(name for code in codes for name in code.co_names):
        if name in function.__globals__:
            value = function.__globals__[name]
            yield value
            yield from _named(value, seen)


def refuse_unavailable(task: str, judges: Iterable[Any]) -> None:
    """Refuse a task whose judge cannot be asked.

    Raises:
        UsageError: it has no key, or a local one does not answer.
    """
    for judge in judges:
        if not judge.is_available():
            raise UsageError(
                f"lmms-eval's task {task} asks a judge by itself, {name_of(judge)}, and its key is not set, or nobody "
                "answers there.",
                "lmms-eval takes key, URL and model from OPENAI_API_KEY, OPENAI_API_URL and MODEL_VERSION, and the "
                "kind of server from API_TYPE (azure: AZURE_API_KEY, AZURE_ENDPOINT; local: LLM_JUDGE_URL). "
                "To do without a judge, name the other tasks.",
            )


def name_of(judge: Any) -> str:
    """The model, and the kind of server that it is asked of."""
    return f"{judge.config.model_name} ({type(judge).__name__})"


@dataclass
class Watched:
    """What came of the requests about one answer; it fills while they are made.

    Args:
        failed: of those whose last try failed, or brought no text, why, by what was asked.
        replied: whether the judge has replied to one. A cached reply says nothing of how it is now.
        not_kept: why a reply could not be cached.
    """

    failed: dict[str, Exception] = field(default_factory=dict)
    replied: bool = False
    not_kept: RunError | None = None


@contextlib.contextmanager
def requests_watched() -> Iterator[Watched]:
    """Within it requests to judges about one answer are watched, and replies to them cached
    (`mmpref.judges.reply_cache`; the same asked again is another request: a task may not be content with the first).

    Raises:
        RunError: at its end: the cache cannot be written. Within, a task's code would take that for a judge's failure.
    """
    from lmms_eval.llm_judge.base import ServerInterface

    watched, times = Watched(), Counter[Path]()
    with contextlib.ExitStack() as stack:
        for kind in _kinds(ServerInterface):
            if "evaluate" in vars(kind):
                stack.callback(setattr, kind, "evaluate", vars(kind)["evaluate"])
                setattr(kind, "evaluate", _watching(vars(kind)["evaluate"], watched, times))  # noqa: B010
        yield watched
    if watched.not_kept:
        raise watched.not_kept


def _watching(evaluate: Callable[..., Any], watched: Watched, times: Counter[Path]) -> Callable[..., Any]:
    def watching(judge: Any, request: Any) -> Any:
        asked = str(request.messages[-1]["content"])
        try:
            file = None if request.images else _file(judge, request, times)
            cached = file and _cached(file, judge, request)
            response = cached or evaluate(judge, request)
        except Exception as error:
            watched.failed[asked] = error
            raise
        if not (response.success and response.content.strip()):
            watched.failed[asked] = ModelError(response.error_message or "an empty reply")
            return response
        for one in [one for one in watched.failed if one.endswith(asked)]:  # too long a prompt is asked by its end
            del watched.failed[one]
        if not cached:
            watched.replied = True
            _keep(file, response, watched)
        return response

    return watching


def _file(judge: Any, request: Any, times: Counter[Path]) -> Path:
    """Where the judge's reply is cached."""
    content = {
        "judge": type(judge).__name__,
        "url": [str(getattr(judge, name, "")) for name in _URLS],
        "config": dataclasses.asdict(request.config or judge.config),
        "messages": repr(judge.prepare_messages(request)),
    }
    first = reply_file(content)
    times[first] += 1
    return reply_file({**content, "repeat": times[first]})


def _cached(file: Path, judge: Any, request: Any) -> Any:
    """The judge's response where it has replied before."""
    from lmms_eval.llm_judge.protocol import Response

    reply = read_reply(file, None)
    return reply and Response(content=str(reply.text), model_used=(request.config or judge.config).model_name)


def _keep(file: Path | None, response: Any, watched: Watched) -> None:
    if file is None or watched.not_kept:
        return
    try:
        write_reply(file, Reply(response.content))
    except RunError as error:
        watched.not_kept = error


class Patience:
    """How many answers may stay without a verdict before their judge counts as gone; `mmpref.judges.endpoint`'s rule.

    Args:
        task: whose code asks.
    """

    def __init__(self, task: str) -> None:
        self._task, self._failures = task, 0

    def replied(self) -> None:
        """The judge gave a verdict."""
        self._failures = 0

    def failed(self, error: Exception) -> str:
        """Why one answer has no verdict.

        Raises:
            ModelError: no other would have one: the judge cannot be reached, refuses access, or has failed
                `MAX_FAILURES` times in a row. A request that it refuses for what stands there costs itself.
        """
        why = f"{type(error).__name__}: {reason_of(error)[:300]}"
        status = _status(error)
        refused = status in _REFUSED or is_moderated(error)
        gone = not refused and (status in _NO_ACCESS or (status is None and _cannot_reach(error)))
        self._failures += not refused
        if gone or self._failures >= MAX_FAILURES:
            raise ModelError(
                f"The judge of lmms-eval's task {self._task} gave no reply ({why}).",
                "What the model answered is kept: run the same command again when the judge can be reached.",
            )
        return why


def _status(error: Exception) -> int | None:
    """Of HTTP, as libraries that judges are asked by have it: openai's, requests, httpx; botocore within a dict."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return dict(response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def _cannot_reach(error: Exception) -> bool:
    """Whether there is no connection, by the name of the error or of what it is a kind of: Python and each library have
    their own. One that only took too long is none of these."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return not any("Timeout" in name for name in names) and not _UNREACHED.isdisjoint(names)


def _kinds(kind: Any) -> list[Any]:
    """All classes below one."""
    return [found for each in kind.__subclasses__() for found in (each, *_kinds(each))]
