"""Work in several processes: who writes, and who waits. The launcher, and what is between them, is accelerate's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState


def rank() -> int:
    """This process's number where a launcher (accelerate, torchrun) started several; 0 is the one that writes."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def wait() -> None:
    """Go on when all processes have come this far."""
    if processes() > 1:
        _state().wait_for_everyone()


def part() -> None:
    """The processes have nothing more to do together: each may end when it is done. One that ends while others are
    still connected to it may abort."""
    if processes() > 1:
        _state().wait_for_everyone()
        _state().destroy_process_group()


@contextlib.contextmanager
def first() -> Iterator[None]:
    """The writing process goes through alone, and the others after it: they find what it has written."""
    if processes() == 1:
        yield
        return
    with _state().main_process_first():
        yield


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    # Launchers end all processes when one dies; one that has more to do than the others is waited for.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=7))
