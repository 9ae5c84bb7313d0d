"""How a run's blocks are worked on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmpref.data.blocks import BlockRunner
from mmpref.data.builder import Builder, Context, Worker, as_worker
from mmpref.data.shards import Blocks
from mmpref.data.sources import Source
from mmpref.tables.open import open_table
from mmpref.types import Example, Pair, Skip


class Recorded(Worker):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        self.calls.append(f"work on {block[0].id}")
        return [Pair(example, "No.", "recorded", None, 1, 0) for example in block]

    def begin(self, block: Sequence[Example]) -> None:
        self.calls.append(f"begin {block[0].id}")

    def notes(self) -> dict[str, float]:
        return {"calls": len(self.calls)}


def test_each_block_begins_before_the_one_ahead_of_it_is_in_work(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "x.png").write_bytes(png)
    rows = [{"id": f"r{n}", "image": "x.png", "prompt": "What?", "answer": f"It is {n}."} for n in range(5)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    worker, blocks = Recorded(), Blocks(tmp_path / "state")
    runner = BlockRunner(blocks, lambda: worker, lambda: None, keep_rejected=False)
    assert runner.run(Source(open_table(str(tmp_path / "rows.json"))), 2) == 3
    assert worker.calls == ["begin r0", "begin r2", "work on r0", "begin r4", "work on r2", "work on r4"]
    assert [blocks.describe(number)["notes"]["calls"] for number in range(3)] == [3, 5, 6]
    assert runner.run(Source(open_table(str(tmp_path / "rows.json"))), 2) == 3
    assert len(worker.calls) == 6, "what is done is not done again"


def test_a_row_of_no_pairs_is_skipped_and_counted(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "x.png").write_bytes(png)
    rows = [{"id": f"r{n}", "image": "x.png", "prompt": "What?", "answer": f"It is {n}."} for n in range(3)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))

    def several(block: Sequence[Example]) -> list[tuple[Pair, ...]]:
        return [tuple(Pair(one, f"No {n}.", "several", None, 1, 0) for n in range(int(one.id[1:]))) for one in block]

    blocks, told = Blocks(tmp_path / "state"), list[tuple[int, int]]()
    runner = BlockRunner(blocks, lambda: as_worker(several), lambda: None, keep_rejected=False)
    source = Source(open_table(str(tmp_path / "rows.json")))
    runner.run(source, 3, on_progress=lambda total, of_rows: told.append((total, len(of_rows))))
    described = blocks.describe(0)
    assert (described["rows"], told) == (3, [(3, 0), (3, 3)]), "how much there is to do is told before the first block"
    assert [(skip["id"], skip["reason"]) for skip in described["skips"]] == [("r0", "no-pair")]


def test_a_plain_callable_is_a_worker(png: bytes) -> None:
    builder = Builder(config=lambda: dict, worker=lambda context, settings: Recorded().__call__)
    worker = as_worker(builder.worker(Context(lambda: None, None, 0), {}))  # type: ignore[arg-type,return-value]
    example = Example("1", (), (), "Yes.", "")
    worker.begin([example])
    assert worker([example]) == [Pair(example, "No.", "recorded", None, 1, 0)]
    assert worker.notes() == {}
    worker.close()


def test_blocks_that_another_shard_takes_away_meanwhile_name_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = Blocks(tmp_path / "state")
    for number in range(3):
        blocks.write(number, [Skip(str(number), "no-image")], named=[{f"{number}.png": "0" * 16}])
    assert blocks.named_images() == [{f"{number}.png": "0" * 16 for number in range(3)}]
    describe = blocks.describe

    def merged_after_the_first(number: int) -> dict[str, Any]:
        if number:
            blocks.remove()
        return describe(number)

    monkeypatch.setattr(blocks, "describe", merged_after_the_first)
    assert blocks.named_images() == [{"0.png": "0" * 16}]
