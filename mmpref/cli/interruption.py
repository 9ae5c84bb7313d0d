"""Ctrl-C and SIGTERM: both end a command as `KeyboardInterrupt`, and that one came is kept, for libraries in C++ may
tell of another error in its place."""

from __future__ import annotations

import signal

_CAME: list[int] = []
"""Signals that came to interrupt this process's command, and were not dealt with."""


def handle_signals() -> None:
    """From now on they interrupt; but not Ctrl-C where whoever started the process has it ignored."""
    _CAME.clear()
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def came() -> bool:
    """Whether one came that was not dealt with."""
    return bool(_CAME)


def dealt_with() -> None:
    """Whoever caught the interruption has done what there was to do: errors from now on are errors."""
    _CAME.clear()


def _interrupt(number: int, _frame: object) -> None:
    _CAME.append(number)
    raise KeyboardInterrupt
