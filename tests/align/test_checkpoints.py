"""A checkpoint counts once its list of files is there, and only while the files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.align.checkpoints import (
    COMPLETE,
    latest_checkpoint,
    mark_complete,
    refuse_other_processes,
    step_of,
    sums_file,
)
from mmpref.errors import RunError


def checkpoint(folder: Path, step: int, *, sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    (path / "optimizer.pt").write_bytes(b"moments")
    if sealed:
        mark_complete(path)
    return path


def test_the_last_whole_one_is_found(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    checkpoint(tmp_path, 10)
    unsealed = checkpoint(tmp_path, 11, sealed=False)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert step_of(found) == 10
    assert not unsealed.exists()


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_one_does_not_count(tmp_path: Path, damage: str) -> None:
    path = checkpoint(tmp_path, 3)
    file = path / "optimizer.pt"
    file.unlink() if damage == "missing" else file.write_bytes(b"mom")
    assert latest_checkpoint(tmp_path) is None


def test_a_half_written_list_does_not_count(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3, sealed=False)
    (path / f".{COMPLETE}.123.tmp").write_text('{"optimizer.pt": 7')
    assert latest_checkpoint(tmp_path) is None


def test_none_at_all(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "nothing") is None


def test_another_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would divide the rows otherwise, under the schedule of the first ones."""
    refuse_other_processes(tmp_path)
    path = checkpoint(tmp_path, 3, sealed=False)
    for number in range(2):
        (path / sums_file(number)).write_text("{}")
    refuse_other_processes(tmp_path)  # it is not complete, and training begins anew
    mark_complete(path)
    with pytest.raises(RunError, match=r"Step 3 .* saved by 2 processes, and 1 process would go on.*num_processes=2"):
        refuse_other_processes(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    refuse_other_processes(tmp_path)
