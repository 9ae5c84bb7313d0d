"""Features of the vision tower on disk: written once, found again, whole after a kill; off where there is no room."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmpref.align.features import KeptFeatures, worth_keeping
from mmpref.align.train import TrainRecipe, train
from mmpref.vlm.tower import Features, Tower


def features(row: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Of two doors; the number of tiles differs between rows."""
    generator = torch.Generator().manual_seed(row)
    return [torch.randn(1 + row % 3, 4, 6, generator=generator).to(dtype), torch.randn(5, 2, generator=generator)
            .to(dtype)]  # fmt: skip


def same(left: Features, right: Features) -> bool:
    return all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(left, right, strict=True))


def unasked(row: int) -> Features:
    raise AssertionError(f"row {row} is there already")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_made_once_and_found_again(dtype: torch.dtype, tmp_path: Path) -> None:
    kept = KeptFeatures(tmp_path / "features.bin")
    for row in (4, 0, 2):
        assert same(kept.of([row], lambda row: features(row, dtype))[0], features(row, dtype))
    for again in (kept, KeptFeatures(tmp_path / "features.bin")):
        for row, found in zip((0, 2, 4, 0), again.of([0, 2, 4, 0], unasked), strict=True):
            assert same(found, features(row, dtype))


def test_what_a_kill_left_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "features.bin"
    kept = KeptFeatures(path)
    kept.of([0, 1], features)
    whole, lines = path.read_bytes(), (tmp_path / "features.jsonl").read_text()
    path.write_bytes(whole + b"half a row")
    (tmp_path / "features.jsonl").write_text(lines + '{"row": 2, "beg')
    kept = KeptFeatures(path)
    assert path.read_bytes() == whole
    kept.of([0, 1], unasked)
    assert same(kept.of([2], features)[0], features(2))
    assert same(KeptFeatures(path).of([2], unasked)[0], features(2))


def test_a_full_disk_costs_the_keeping_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = KeptFeatures(tmp_path / "features.bin")
    kept.of([0], features)
    (tmp_path / "features.bin").chmod(0o400)
    (tmp_path / "features.bin").unlink()
    (tmp_path / "features.bin").mkdir()  # nothing can be written there, not even by root
    with caplog.at_level(logging.WARNING, "mmpref"):
        assert same(kept.of([1], features)[0], features(1))
        assert same(kept.of([1], features)[0], features(1))
    assert caplog.text.count("no more image features are kept") == 1


def test_room_decides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = [torch.zeros(250_000)]
    with caplog.at_level(logging.INFO, "mmpref"):
        assert worth_keeping(one, 1000, 1.0, tmp_path)
        assert not worth_keeping(one, 1001, 1.0, tmp_path)
        assert not worth_keeping(one, 10**9, 10**9, tmp_path)
    assert "set it to 2 to keep them" in caplog.text
    assert "GB are free" in caplog.text


def test_a_run_looks_at_every_image_once(preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = Tower.features

    def counted(self: Tower, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        looked.append(1)
        return look(self, inputs)

    monkeypatch.setattr(Tower, "features", counted)
    trainer = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
               "learning_rate": 1e-4}  # fmt: skip
    with_cache = train(TrainRecipe("pkg:mmpref/testbed/model", (str(preferences),), trainer=trainer), tmp_path / "a")
    rows = with_cache["counts"]["rows"]
    assert len(looked) == rows + 1, "every row, and the first to see how large its features are"
    without = train(
        TrainRecipe("pkg:mmpref/testbed/model", (str(preferences),), trainer=trainer, feature_cache_gb=0),
        tmp_path / "b",
    )
    assert len(looked) == rows + 1
    assert with_cache["final"]["loss"] == pytest.approx(without["final"]["loss"], rel=1e-4)
    ours, theirs = (load_file(tmp_path / name / "adapter_model.safetensors") for name in "ab")
    for name, expected in theirs.items():
        assert torch.allclose(ours[name], expected, atol=1e-5, rtol=1e-4), name
    assert not list((tmp_path / "a/.mmpref").glob("features-*"))
    assert json.loads((tmp_path / "a/run.json").read_text())["recipe"]["feature_cache_gb"] == 8.0
