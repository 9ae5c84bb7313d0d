"""Features of the vision tower on disk: written once, found again, whole after a kill; off where there is no room."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmpref.align.feature_cache import FeatureCache, fits_cache
from mmpref.align.recipe import TrainRecipe
from mmpref.align.train import train
from mmpref.vlm.vision_tower import Features, VisionTower
from tests.align.cut import Cut, adapters, cutting


def features(row: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Of two doors; the number of tiles differs between rows."""
    generator = torch.Generator().manual_seed(row)
    return [
        torch.randn(1 + row % 3, 4, 6, generator=generator).to(dtype),
        torch.randn(5, 2, generator=generator).to(dtype),
    ]


def same(left: Features, right: Features) -> bool:
    return all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(left, right, strict=True))


def unasked(row: int) -> Features:
    raise AssertionError(f"row {row} is there already")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_made_once_and_found_again(dtype: torch.dtype, tmp_path: Path) -> None:
    kept = FeatureCache(tmp_path / "features.bin", 1e9)
    for row in (4, 0, 2):
        assert same(kept.get([row], lambda row: features(row, dtype))[0], features(row, dtype))
    for again in (kept, FeatureCache(tmp_path / "features.bin", 1e9)):
        for row, found in zip((0, 2, 4, 0), again.get([0, 2, 4, 0], unasked), strict=True):
            assert same(found, features(row, dtype))


def test_what_a_kill_left_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "features.bin"
    kept = FeatureCache(path, 1e9)
    kept.get([0, 1], features)
    whole, lines = path.read_bytes(), (tmp_path / "features.jsonl").read_text()
    path.write_bytes(whole + b"half a row")
    (tmp_path / "features.jsonl").write_text(lines + '{"row": 2, "beg')
    kept = FeatureCache(path, 1e9)
    assert path.read_bytes() == whole
    kept.get([0, 1], unasked)
    assert same(kept.get([2], features)[0], features(2))
    assert same(FeatureCache(path, 1e9).get([2], unasked)[0], features(2))


FULL = """
import resource, signal, sys
from pathlib import Path
from mmpref.align.feature_cache import FeatureCache
from tests.align.test_feature_cache import features, same
folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))  # room for the first row only
kept = FeatureCache(folder / "features.bin", 1e9)
first, = kept.get([0], features)
second, = kept.get([5], features)
assert same(second, features(5))
assert kept.get([0, 1], features) == [] and same(kept.get([0], features)[0], first)
"""


def test_a_full_disk_costs_the_keeping_only(tmp_path: Path) -> None:
    """What does not fit is given back to the disk; batches with other rows go through the tower."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "features of 1 row are kept, and no more" in done.stderr
    assert (tmp_path / "features.bin").stat().st_size == sum(4 * part.numel() for part in features(0))
    assert same(FeatureCache(tmp_path / "features.bin", 1e9).get([0], unasked)[0], features(0))


def test_the_budget_is_kept_whatever_a_row_takes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sizes = {row: sum(4 * part.numel() for part in features(row)) for row in range(6)}
    kept = FeatureCache(tmp_path / "features.bin", sizes[0] + sizes[1] + 1)
    with caplog.at_level(logging.WARNING, "mmpref"):
        assert len(kept.get([0, 1, 2], features)) == 3
        assert kept.get([2], unasked) == []
        assert len(kept.get([1, 0], unasked)) == 2
    assert (tmp_path / "features.bin").stat().st_size == sizes[0] + sizes[1]
    assert "feature_cache_gb is reached" in caplog.text


def test_room_decides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = [torch.zeros(250_000)]
    with caplog.at_level(logging.INFO, "mmpref"):
        assert fits_cache(one, 1000, 1e9, tmp_path)
        assert not fits_cache(one, 1001, 1e9, tmp_path)
        assert not fits_cache(one, 10**9, 1e18, tmp_path)
    assert "set it to 2 to keep them" in caplog.text
    assert "GB are free" in caplog.text


@pytest.mark.long
def test_a_run_looks_at_every_image_once(preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = VisionTower.features

    def counted(self: VisionTower, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        looked.append(1)
        return look(self, inputs)

    monkeypatch.setattr(VisionTower, "features", counted)
    trainer = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-4,
    }
    with_cache = train(
        TrainRecipe("pkg:mmpref/testbed/model", (str(preferences),), limit=12, trainer=trainer), tmp_path / "a"
    )
    rows = with_cache["counts"]["rows"]
    assert len(looked) == rows + 1, "every row, and the first to see how large its features are"
    without = train(
        TrainRecipe("pkg:mmpref/testbed/model", (str(preferences),), limit=12, trainer=trainer, feature_cache_gb=0),
        tmp_path / "b",
    )
    assert len(looked) == rows + 1
    assert with_cache["final"]["loss"] == pytest.approx(without["final"]["loss"], rel=1e-4)
    ours, theirs = (load_file(tmp_path / name / "adapter_model.safetensors") for name in "ab")
    for name, expected in theirs.items():
        assert torch.allclose(ours[name], expected, atol=1e-5, rtol=1e-4), name
    assert not list((tmp_path / "a/.mmpref").glob("**/features-*"))
    assert json.loads((tmp_path / "a/run.json").read_text())["recipe"]["feature_cache_gb"] == 8.0


@pytest.mark.long
def test_a_run_that_has_begun_to_keep_goes_on(
    preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own file has made the room less; the question is not asked again."""
    trainer = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "save_steps": 2,
    }
    recipe = TrainRecipe("pkg:mmpref/testbed/model", (str(preferences),), limit=12, trainer=trainer)
    train(recipe, tmp_path / "whole")
    with pytest.raises(Cut):
        train(recipe, tmp_path / "cut", on_progress=cutting(3))
    assert (tmp_path / "cut/.mmpref/training/features-0.bin").stat().st_size
    monkeypatch.setattr("mmpref.align.feature_cache.fits_cache", lambda *_: pytest.fail("it is settled"))
    train(recipe, tmp_path / "cut")
    one, other = adapters(tmp_path)
    assert one == other
