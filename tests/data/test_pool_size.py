"""Rows that memory decides: once in a run, told, and never against what was asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmpref.data.build import build_dataset
from mmpref.data.pool_size import POOL, decide_sizes
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import UsageError
from mmpref.recipes import schema
from mmpref.run.directory import open_run
from mmpref.sampling.settings import BdhsSettings
from mmpref.vlm.pool_memory import PoolMemory

GIB = 2**30
AUTO = BdhsSettings(batch_size="auto")


class Loader:
    """Of a model on a device."""

    def __init__(self, device: str) -> None:
        self.device, self.loads, self.pool_tokens = torch.device(device), 0, None

    def __call__(self) -> Any:
        self.loads += 1
        return SimpleNamespace(device=self.device)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    return open_run(tmp_path / "run", "build-dataset", BuildRecipe("none", "rows"))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_free(gib: float) -> None:
        memory = PoolMemory(int(gib * GIB), 512 * 1024)
        monkeypatch.setattr("mmpref.vlm.pool_memory.pool_memory", lambda _: memory)

    return set_free


def test_memory_decides_what_is_auto(run: Any, free: Any, caplog: pytest.LogCaptureFixture) -> None:
    free(64)
    caplog.set_level("INFO")
    loader: Any = Loader("cuda")
    settings, block = decide_sizes(run, loader, AUTO, "auto", True)
    assert (settings.batch_size, block, loader.pool_tokens) == (179, 35, 91750)
    assert "64.0 GiB are free beside the weights, a token takes 512 KiB: 179 rows are decoded together" in caplog.text
    free(8)  # a run goes on as it began
    again: Any = Loader("cuda")
    assert decide_sizes(run, again, AUTO, "auto", True) == (settings, block)
    assert (again.loads, again.pool_tokens) == (0, 91750)
    assert run.pinned(POOL)["rows"] == 179


def test_what_is_asked_for_wins(run: Any, free: Any) -> None:
    free(64)
    loader: Any = Loader("cuda")
    plain = BdhsSettings(batch_size=7)
    assert decide_sizes(run, loader, plain, 9, True) == (plain, 9)
    assert (loader.loads, loader.pool_tokens) == (0, None)
    assert decide_sizes(run, loader, plain, "auto", True) == (plain, 35)
    assert loader.pool_tokens is None
    settings, block = decide_sizes(run, loader, AUTO, 9, True)
    assert (settings.batch_size, block) == (179, 9)


@pytest.mark.parametrize(("device", "uses_model"), [("cpu", True), ("cuda", False)])
def test_elsewhere_it_is_what_it_always_was(run: Any, free: Any, device: str, uses_model: bool) -> None:
    free(64)
    loader: Any = Loader(device)
    assert decide_sizes(run, loader, AUTO, "auto", uses_model) == (
        BdhsSettings(),
        BuildRecipe("none", "rows").block_size,
    )
    assert loader.pool_tokens is None


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match="batch_size is 'most'; it must be a whole number or 'auto'"):
        schema.build(BdhsSettings, {"batch_size": "most"})
    with pytest.raises(UsageError, match="batch_size is 0"):
        BdhsSettings(batch_size=0)


@pytest.mark.long
def test_a_build_on_a_cpu_has_the_bytes_of_the_defaults(tmp_path: Path) -> None:
    builder = {"similarity_model": "pkg:mmpref.testbed/embedder", "iterations": 1}
    plain = BuildRecipe("pkg:mmpref.testbed/model", "testbed", limit=6, builder=builder)
    auto = dataclasses.replace(plain, block_size="auto", builder={**builder, "batch_size": "auto"})
    for name, recipe in (("plain", plain), ("auto", auto)):
        build_dataset(recipe, tmp_path / name)
    [one], [other] = (list((tmp_path / name / "data").iterdir()) for name in ("plain", "auto"))
    assert one.read_bytes() == other.read_bytes()
