"""The one logger: what mmpref says beside its results, on stderr where the command line runs; and how it says times
and counts."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

logger = logging.getLogger("mmpref")
_SAID: ContextVar[set[str] | None] = ContextVar("said", default=None)
"""What `warn` has said within `each_once`."""


@contextlib.contextmanager
def each_once() -> Iterator[None]:
    """Within it `warn` says nothing twice: a command checks first, works then, and shows results in the end."""
    token = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(token)


def warn(text: str) -> None:
    """Warn of what results may say again."""
    said = _SAID.get()
    if said is not None and logger.isEnabledFor(logging.WARNING):
        if text in said:
            return
        said.add(text)
    logger.warning("Warning: %s", text)


def unsaid(texts: Iterable[str]) -> list[str]:
    """Those that `warn` has not said yet."""
    said = _SAID.get() or ()
    return [text for text in texts if text not in said]


def quiet_libraries() -> None:
    """Keep libraries' retries and deprecations off stderr, unless ``MMPREF_DEBUG`` is 1: they are nothing that a user
    can act on, and what fails is said in one line. Each process has levels of its own."""
    if os.environ.get("MMPREF_DEBUG") != "1":
        for name in ("huggingface_hub", "transformers", "sentence_transformers", "httpx", "datasets", "bitsandbytes"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def errors_only() -> Iterator[None]:
    """Within it a process that does not write logs nothing but errors."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def somebody_watches() -> bool:
    """Whether stderr is a terminal, or a notebook shows it."""
    return sys.stderr.isatty() or in_notebook()


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


def counted(number: float, what: str, several: str = "") -> str:
    """A count with its noun: ``1 row``, ``1,560 rows``.

    Args:
        what: one of them.
        several: more of them; by default with an s.
    """
    return f"{number:,.0f} {what if number == 1 else several or f'{what}s'}"


def duration(seconds: float) -> str:
    """A time as a person would say it: ``under a second``, ``40 s``, ``3 min``, ``2 h 10 min``, ``14 h``."""
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds >= 10 * 3600:
        return f"{seconds / 3600:.0f} h"
    hours, minutes = divmod(5 * round(seconds / 300), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
