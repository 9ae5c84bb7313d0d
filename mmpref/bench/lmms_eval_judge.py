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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mmpref.errors import ModelError, UsageError, reason_of
from mmpref.judges.chat import Reply
from mmpref.judges.endpoint import MAX_FAILURES
from mmpref.judges.reply_cache import read_reply, reply_file, write_reply


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
        UsageError: it has no key.
    """
    for judge in judges:
        if not judge.is_available():
            raise UsageError(
                f"lmms-eval's task {task} asks a judge by itself, {name_of(judge)}, and its key is not set.",
                "lmms-eval takes key, URL and model from OPENAI_API_KEY, OPENAI_API_URL and MODEL_VERSION, and the "
                "kind of server from API_TYPE. To do without a judge, name the other tasks.",
            )


def name_of(judge: Any) -> str:
    """The model, and the kind of server that it is asked of."""
    return f"{judge.config.model_name} ({type(judge).__name__})"


@contextlib.contextmanager
def requests_watched() -> Iterator[dict[str, Exception]]:
    """Within it requests to judges about one answer are watched, and replies to them cached
    (`mmpref.judges.reply_cache`; the same asked again is another request: a task may not be content with the first).

    Returns:
        Of those whose last try failed, or brought no text, why, by what was asked: it fills while they are made.
    """
    from lmms_eval.llm_judge.base import ServerInterface

    failed, times = dict[str, Exception](), Counter[Path]()
    with contextlib.ExitStack() as stack:
        for kind in _kinds(ServerInterface):
            if "evaluate" in vars(kind):
                stack.callback(setattr, kind, "evaluate", vars(kind)["evaluate"])
                setattr(kind, "evaluate", _watched(vars(kind)["evaluate"], failed, times))  # noqa: B010
        yield failed


def _watched(evaluate: Callable[..., Any], failed: dict[str, Exception], times: Counter[Path]) -> Callable[..., Any]:
    def watched(judge: Any, request: Any) -> Any:
        asked = str(request.messages[-1]["content"])
        try:
            response = _cached(evaluate, judge, request, times)
        except Exception as error:
            failed[asked] = error
            raise
        if response.success and response.content.strip():
            for one in [one for one in failed if one.endswith(asked)]:  # a prompt that was too long is asked by its end
                del failed[one]
        else:
            failed[asked] = ModelError(response.error_message or "an empty reply")
        return response

    return watched


def _cached(evaluate: Callable[..., Any], judge: Any, request: Any, times: Counter[Path]) -> Any:
    """The judge's response, which costs nothing where it has replied before."""
    from lmms_eval.llm_judge.protocol import Response

    if request.images:
        return evaluate(judge, request)
    config = request.config or judge.config
    content = {
        "judge": type(judge).__name__,
        "url": str(getattr(judge, "base_url", "")),
        "config": dataclasses.asdict(config),
        "messages": repr(judge.prepare_messages(request)),
    }
    times[reply_file(content)] += 1
    file = reply_file({**content, "repeat": times[reply_file(content)]})
    if (reply := read_reply(file, None)) is not None:
        return Response(content=str(reply.text), model_used=config.model_name)
    response = evaluate(judge, request)
    if response.success and response.content.strip():
        write_reply(file, Reply(response.content))
    return response


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
        import openai

        why = f"{type(error).__name__}: {reason_of(error)[:300]}"
        gone = isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError | openai.NotFoundError) or (
            isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
        )
        if not isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            self._failures += 1
        if gone or self._failures >= MAX_FAILURES:
            raise ModelError(
                f"The judge of lmms-eval's task {self._task} gave no reply ({why}).",
                "What the model answered is kept: run the same command again when the judge can be reached.",
            )
        return why


def _kinds(kind: Any) -> list[Any]:
    """All classes below one."""
    return [found for each in kind.__subclasses__() for found in (each, *_kinds(each))]
