"""Finds what would make the host wait for an accelerator, with tensors that are on the CPU.

There nothing is copied when a tensor is read, so calls are looked at: those by which Python reads a tensor, and
operations whose result has a size that only the device knows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

_READS = {
    getattr(torch.Tensor, name)
    for name in (
        "tolist",
        "item",
        "numpy",
        "cpu",
        "nonzero",
        "equal",
        "masked_select",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
        "__array__",
        "__repr__",
        "__format__",
    )
} | {torch.equal, torch.nonzero, torch.masked_select}
_OPERATIONS = {
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "allclose",
    "masked_select",
    "is_nonzero",
    "_unique2",
    "unique_consecutive",
    "unique_dim",
    "bincount",
}
_INDEXING = {"index", "index_put", "index_put_"}


class Waits(AssertionError):
    """Something reads a tensor."""


def _refuse(name: str) -> None:
    raise Waits(name)


class _Calls(TorchFunctionMode):
    def __init__(self, uploads: list[int], on_wait: Callable[[str], None] = _refuse) -> None:
        super().__init__()
        self._uploads, self._on_wait = uploads, on_wait

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READS:
            self._on_wait(func.__name__)
        if func is torch.Tensor.to and any(isinstance(given, str) for given in [*args, *(kwargs or {}).values()]):
            self._on_wait("to")  # a device by its name is the host; others are a policy's
        if func is torch.tensor:
            self._uploads[0] += 1
            if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(args)):
                self._on_wait("tensor")
        return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    supports_higher_order_operators = True  # FlexAttention is one: a kernel, whatever torch's reference of it does

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "overloadpacket", func).__name__
        masks = name in _INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        repeats = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if name in _OPERATIONS or masks or repeats:
            raise Waits(name)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def refused(uploads: list[int] | None = None) -> Iterator[None]:
    """Within it, whatever would wait for the device raises `Waits`.

    Args:
        uploads: its first number is how many tensors were made of Python's numbers; they are added to it.
    """
    with _Calls(uploads if uploads is not None else [0]), _Operations():
        yield


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Within it nothing is looked at: what stands for a kernel may read what the kernel would have on the device."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """The names of the calls within it by which Python reads a tensor, as they come."""
    reads: list[str] = []
    with _Calls([0], reads.append):
        yield reads


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.done = [0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.done[0] += 1
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def operations() -> Iterator[list[int]]:
    """Its first number is how many operations have been done within it."""
    with _Counting() as counting:
        yield counting.done
