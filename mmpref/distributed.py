"""Work in several processes: who writes, and who waits. The launcher, and what is between them, is accelerate's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator, PartialState

T = TypeVar("T")


def process_index() -> int:
    """This process's number where a launcher (accelerate, torchrun) started several; 0 is the one that writes."""
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_model_sharded() -> bool:
    """Whether the launcher's configuration divides one model among them (FSDP, DeepSpeed)."""
    return "true" in (os.environ.get("ACCELERATE_USE_FSDP"), os.environ.get("ACCELERATE_USE_DEEPSPEED"))


def has_accelerator() -> bool:
    """Whether a model that is loaded here goes to an accelerator."""
    import torch

    return torch.cuda.is_available()


def wait_for_everyone() -> None:
    """Go on when all processes have come this far."""
    if num_processes() > 1:
        _state().wait_for_everyone()


def end_collective() -> None:
    """The processes have nothing more to do together: each may end when it is done. One that ends while others are
    still connected to it may abort."""
    if num_processes() > 1:
        _state().wait_for_everyone()
        _state().destroy_process_group()


def gather_object(value: T) -> list[T]:
    """What each process has of a value, in their order; a collective call."""
    if num_processes() == 1:
        return [value]
    from accelerate import utils

    gathered: list[T] = utils.gather_object([value])
    return gathered


@contextlib.contextmanager
def gather_uneven(accelerator: Accelerator, sizes: Sequence[int]) -> Iterator[None]:
    """Within it `Accelerator.gather` takes tensors of different lengths.

    Args:
        sizes: how many elements of each process count. Where it is 0 one stands in, and numbers (sums) do not count.
    """
    if len(set(sizes)) == 1:
        yield
        return
    gather, own, most = accelerator.gather, sizes[process_index()], max(sizes)

    import torch

    def uneven(values: torch.Tensor) -> torch.Tensor:
        if not values.dim():
            return gather(values * (own > 0))
        padded = torch.cat([values[:own], values.new_zeros(most - own, *values.shape[1:])])
        parts = gather(padded).split(most)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    accelerator.gather = uneven
    try:
        yield
    finally:
        del accelerator.gather


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """The writing process goes through alone, and the others after it: they find what it has written."""
    if num_processes() == 1:
        yield
        return
    with _state().main_process_first():
        yield


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    # Launchers end all processes when one dies; one that has more to do than the others is waited for.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=7))
