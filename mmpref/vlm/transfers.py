"""Values from the host to a device without waiting for it. What goes the other way waits until the device has done all
that it was given, so inner loops have one such place for each step: where its tokens are read."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def on_device(
    values: Sequence[int] | Sequence[float] | Sequence[Sequence[int]],
    device: torch.device,
    dtype: torch.dtype = torch.long,
) -> torch.Tensor:
    """A tensor of numbers; a copy from pinned memory goes into the device's queue, where any other would wait for it
    to become empty."""
    return to_device(torch.tensor(values, dtype=dtype), device)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device; one that is there already stays as it is."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
