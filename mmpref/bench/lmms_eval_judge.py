"""Judges that tasks of lmms-eval ask by their own code (MathVista has one read every answer): who they are, and that a
reply that failed is no wrong answer.

Which model it is says the environment (``API_TYPE``, ``MODEL_VERSION``, ``OPENAI_API_URL``, as lmms-eval documents). It
is looked up in the task's code, so that results name it. That code takes a reply that failed for an empty one, which
scores 0: here it ends the evaluation, whose answers are kept.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mmpref.errors import InputError, UsageError


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
def failures_raise(task: str) -> Iterator[None]:
    """Within it requests to judges are watched.

    Raises:
        InputError: behind it, where the last try of a request failed.
    """
    from lmms_eval.llm_judge.base import ServerInterface

    failed: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for kind in _kinds(ServerInterface):
            if "evaluate" in vars(kind):
                stack.callback(setattr, kind, "evaluate", vars(kind)["evaluate"])
                setattr(kind, "evaluate", _watched(vars(kind)["evaluate"], failed))  # noqa: B010
        yield
    if failed:
        raise InputError(
            f"The judge of lmms-eval's task {task} gave no reply ({next(iter(failed.values()))[:300]}).",
            "What the model answered is kept: run the same command again when the judge can be reached.",
        )


def _watched(evaluate: Callable[..., Any], failed: dict[str, str]) -> Callable[..., Any]:
    def watched(judge: Any, request: Any) -> Any:
        asked = str(request.messages[-1]["content"])
        try:
            response = evaluate(judge, request)
        except Exception as error:
            failed[asked] = f"{type(error).__name__}: {error}"
            raise
        if response.success:
            for one in [one for one in failed if one.endswith(asked)]:  # a prompt that was too long is asked by its end
                del failed[one]
        else:
            failed[asked] = str(response.error)
        return response

    return watched


def _kinds(kind: Any) -> list[Any]:
    """All classes below one."""
    return [found for each in kind.__subclasses__() for found in (each, *_kinds(each))]
