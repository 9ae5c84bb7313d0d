"""What ends a training from outside is told in words of the project."""

from __future__ import annotations

import os

import pytest
from torch.utils.data import DataLoader

from mmpref.align import fit
from mmpref.errors import RunError


class Deadly:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, number: int) -> int:
        os._exit(1)


def test_a_process_that_makes_batches_and_dies_is_told() -> None:
    with pytest.raises(RunError, match="A process that prepares batches ended") as told, fit._deaths_told():
        list(DataLoader(Deadly(), num_workers=1))  # type: ignore[arg-type]
    assert "trainer.dataloader_num_workers=0" in told.value.hint


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), fit._deaths_told():
        raise RuntimeError("shapes do not match")
