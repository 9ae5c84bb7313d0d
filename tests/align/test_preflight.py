"""The longest batch before the first step: it changes nothing, and says which row asks for too much memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from mmpref.align.preference_data import collect_pairs
from mmpref.align.preflight import RowLength, measure_lengths
from mmpref.align.recipe import LoraSettings
from mmpref.align.train import train
from mmpref.cli.main import main
from mmpref.tables.open import open_table
from mmpref.testbed.training.build import IMAGE_TOKENS

from .cut import Cut, adapters, cutting
from .test_online import AVERAGED, log_of, recipe
from .test_trainer import load, make

LONG = 13


@pytest.fixture(scope="module")
def uneven(preferences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preferences, of which one row has the longest answer by far, and one before it cannot be used."""
    [file] = (preferences / "data").iterdir()
    rows = pq.read_table(file).to_pylist()
    rows[LONG]["rejected"][0]["content"] = " ".join(row["chosen"][0]["content"] for row in rows[:4])
    rows[3]["rejected"] = rows[3]["chosen"]
    folder = tmp_path_factory.mktemp("uneven")
    schema = pq.read_schema(file)
    pq.write_table(pq.read_table(file).from_pylist(rows, schema), folder / "train.parquet")
    return folder / "train.parquet"


@pytest.fixture
def tried() -> Iterator[list[int]]:
    """One entry a forward pass that is trained on."""
    seen: list[int] = []

    def note(module: torch.nn.Module, _: Any) -> None:
        if type(module).__name__ == "PeftModel" and module.training:
            seen.append(1)

    handle = register_module_forward_pre_hook(note)
    yield seen
    handle.remove()


@pytest.mark.long
@pytest.mark.parametrize("method", ["dpo", "mdpo", "online-bdhs", "povid", "reward-model"])
def test_it_changes_nothing(method: str, preferences: Path, tmp_path: Path, tried: list[int]) -> None:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "save_steps": 2,
    }
    changes: dict[str, Any] = {"lora": LoraSettings(4, 8, 0.1), "trainer": trainer}
    if method in AVERAGED:
        changes["loss"] = AVERAGED[method]
    passes = []
    for name, when in (("whole", "never"), ("cut", "always")):
        tried.clear()
        train(recipe(method, preferences, preflight=when, **changes), tmp_path / name)
        passes.append(len(tried))
    assert passes[1] > passes[0]
    one, other = adapters(tmp_path)
    assert one == other
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "cut")


@pytest.mark.long
def test_a_resumed_run_is_tried_again_and_goes_on_as_if_it_had_not_been(preferences: Path, tmp_path: Path) -> None:
    train(recipe("dpo", preferences, preflight="never"), tmp_path / "whole")
    again = recipe("dpo", preferences, preflight="always")
    with pytest.raises(Cut):
        train(again, tmp_path / "cut", on_progress=cutting(3))
    train(again, tmp_path / "cut")
    one, other = adapters(tmp_path)
    assert one == other
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "cut")


def test_the_longest_row_is_found_wherever_it_is(uneven: Path, tmp_path: Path) -> None:
    pairs = collect_pairs([open_table(str(uneven))], tmp_path, image_token="<image>")

    def measured(at_once: int) -> list[RowLength]:
        policy = load()
        return measure_lengths(make(policy, pairs, tmp_path, per_device_train_batch_size=at_once), policy, pairs)

    lengths = measured(4)
    assert len(lengths) == len(pairs.dataset) == 23
    assert pairs.where(lengths[0].row) == f"{uneven} (train), row {LONG} (counted from 0)"
    assert lengths[0].total > 40 + lengths[1].total
    assert {length.image for length in lengths} == {IMAGE_TOKENS}
    assert measured(1) == lengths, "a row is as long as it is, whatever stands beside it"


def test_too_little_memory_is_told_with_the_row(
    uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hook asks for memory that no machine has, once a sequence that is trained on is as long as the longest."""

    def hook(module: torch.nn.Module, inputs: Any) -> None:
        if type(module).__name__ == "LlamaDecoderLayer" and module.training and inputs[0].shape[1] > 150:
            torch.empty(2**50)

    output = tmp_path / "run"
    options = ["--set", "trainer.per_device_train_batch_size=2", "--set", "preflight=always"]
    with register_module_forward_pre_hook(hook), pytest.raises(SystemExit) as ended:
        main(["train", "--dataset", str(uneven), "--output", str(output), *options])
    assert ended.value.code == 1
    assert not output.exists()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert len(said) == 1
    assert f"The longest is {uneven} (train), row {LONG} (counted from 0), of " in said[0]
    assert "2 longest rows" in said[0]
    assert "can't allocate memory" in said[0]
    assert "Try --batch-size=1 or --set trainer.gradient_checkpointing=true or smaller images" in said[0]
