"""What goes to an accelerator goes through pinned memory, and is not waited for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmpref.vlm.transfers import to_device


class Host:
    """A tensor of the host that tells what is done with it."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.calls: list[str] = []

    def pin_memory(self) -> Host:
        self.calls.append("pinned")
        return self

    def to(self, device: torch.device, non_blocking: bool = False) -> Host:
        self.calls.append(f"{device.type}, {'queued' if non_blocking else 'waited for'}")
        return self


@pytest.mark.parametrize(("device", "calls"), [("cuda", ["pinned", "cuda, queued"]), ("cpu", ["cpu, waited for"])])
def test_copies_to_an_accelerator_are_pinned_and_queued(device: str, calls: list[str]) -> None:
    tensor: Any = Host()
    to_device(tensor, torch.device(device))
    assert tensor.calls == calls
