"""Work in several processes: who writes, and who waits. The launcher, and what is between them, is accelerate's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def rank() -> int:
    """This process's number where a launcher (accelerate, torchrun) started several; 0 is the one that writes."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sharded() -> bool:
    """Whether the launcher's configuration divides one model among them (FSDP, DeepSpeed)."""
    return "true" in (os.environ.get("ACCELERATE_USE_FSDP"), os.environ.get("ACCELERATE_USE_DEEPSPEED"))


def part() -> None:
    """The processes have nothing more to do together: each may end when it is done. One that ends while others are
    still connected to it may abort."""
    if processes() > 1:
        import torch
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        state.wait_for_everyone()
        state.destroy_process_group()


@contextlib.contextmanager
def first() -> Iterator[None]:
    """The writing process goes through alone, and the others after it: they find what it has written."""
    if processes() == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield
