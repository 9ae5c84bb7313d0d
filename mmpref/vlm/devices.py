"""The devices that models can run on here, with their memory and what they do in a second."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """An accelerator, or the processor.

    Args:
        place: as torch names it: ``cuda:0``, ``cpu``.
        name: the maker's.
        memory, free: bytes in all, and not in use now.
        dtype: that models are loaded in here: ``bfloat16``, or ``float32`` on a processor.
        peak: operations a second in a product of large matrices of that type, measured.
    """

    place: str
    name: str
    memory: int
    free: int
    dtype: str
    peak: float

    @property
    def width(self) -> int:
        """Bytes of a number."""
        return 4 if self.dtype == "float32" else 2


def devices() -> list[Device]:
    """All accelerators, or the processor where there is none. Each is measured for a fraction of a second."""
    import torch

    if not torch.cuda.is_available():
        return [_processor()]
    dtype = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    found = []
    for index in range(torch.cuda.device_count()):
        place = f"cuda:{index}"
        free, memory = torch.cuda.mem_get_info(index)
        found.append(
            Device(place, torch.cuda.get_device_name(index), memory, free, dtype, _peak(place, dtype, 8192, 10))
        )
    return found


def _processor() -> Device:
    import platform

    import psutil

    memory = psutil.virtual_memory()
    cores = psutil.cpu_count(logical=True)
    name = f"{platform.machine()}, {cores} cores"
    return Device("cpu", name, memory.total, memory.available, "float32", _peak("cpu", "float32", 1024, 3))


def _peak(place: str, dtype: str, size: int, times: int) -> float:
    """Operations a second; NaN where there is no room for three matrices."""
    import torch

    try:
        left = torch.ones(size, size, device=place, dtype=getattr(torch, dtype))
        left @ left  # the first one finds its way
        _wait(place)
        began = time.perf_counter()
        for _ in range(times):
            left @ left
        _wait(place)
    except RuntimeError:
        return float("nan")
    return times * 2 * size**3 / (time.perf_counter() - began)


def _wait(place: str) -> None:
    import torch

    if place.startswith("cuda"):
        torch.cuda.synchronize(place)
