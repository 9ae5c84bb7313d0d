"""How a run's blocks are worked on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.counts import Counts
from mmpref.data.blocks import BlockRunner
from mmpref.data.builder import BUILDERS, Builder, Context, Worker, as_worker
from mmpref.data.shards import Blocks
from mmpref.data.sources import Source
from mmpref.tables.open import open_table
from mmpref.types import Example, Pair, Skip
from mmpref.vlm.policy import Policy
from tests.data.own_pairs import EMBEDDER
from tests.vlm.tiny import tiny


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
    assert described["images"]["all"] == 2, "of two rows, one of which has two pairs"


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
        blocks.write(number, [[Skip(str(number), "no-image")]], named=[{f"{number}.png": "0" * 16}])
    assert blocks.named_images() == [{f"{number}.png": "0" * 16 for number in range(3)}]
    describe = blocks.describe

    def merged_after_the_first(number: int) -> dict[str, Any]:
        if number:
            blocks.remove()
        return describe(number)

    monkeypatch.setattr(blocks, "describe", merged_after_the_first)
    assert blocks.named_images() == [{"0.png": "0" * 16}]


class Counting(Recorded):
    """One that counts every row it works on, takes another row's answer, and breaks on answers with "bad" in them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        for example in block:
            self.counts.add({"rows": 1})
            if "bad" in example.answer:
                raise ZeroDivisionError("cannot digest it")
        if len(block) == 1:
            return [Skip(block[0].id, "no-partner")]
        return [
            Pair(example, other.answer, "counting", None, 1, 0)
            for example, other in zip(block, [*block[1:], block[0]], strict=True)
        ]

    def notes(self) -> dict[str, float]:
        return self.counts.take()


def described(tmp_path: Path, worker: Worker, policy: Policy | None = None) -> dict[str, Any]:
    """The only block of the rows there, as it is kept."""
    blocks = Blocks(tmp_path / "state")
    runner = BlockRunner(blocks, lambda: worker, lambda: policy, keep_rejected=False)
    assert runner.run(Source(open_table(str(tmp_path / "rows.json"))), 8) == 1
    return blocks.describe(0)


def test_rows_that_a_method_breaks_on_cost_the_others_neither_partners_nor_counts(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "x.png").write_bytes(png)
    answers = ["It is 0.", "It is 1.", "a bad one", "It is 3.", "another bad one"]
    rows = [{"id": f"r{n}", "image": "x.png", "prompt": "What?", "answer": text} for n, text in enumerate(answers)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    block = described(tmp_path, Counting())
    assert [(skip["id"], skip["reason"]) for skip in block["skips"]] == [("r2", "failed"), ("r4", "failed")]
    assert (block["rows"], block["notes"]) == (3, {"rows": 3}), "what an attempt that failed has counted is left out"


def test_without_good_rows_nothing_is_counted(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "x.png").write_bytes(png)
    (tmp_path / "rows.json").write_text(json.dumps([{"image": "x.png", "prompt": "What?", "answer": "a bad one"}]))
    block = described(tmp_path, Counting())
    assert ([skip["reason"] for skip in block["skips"]], block["notes"]) == (["failed"], {})


@pytest.mark.parametrize("method", ["other-image", "same-kind"])
def test_an_image_that_the_processor_refuses_costs_the_others_no_partner(tmp_path: Path, method: str) -> None:
    """Qwen2-VL takes no image of 1 x 400 pixels, whichever row it is shown for."""
    policy, builder = tiny("qwen2_vl"), BUILDERS.get(method)
    settings = builder.config()(similarity_model=EMBEDDER, max_answer_tokens=4, keep_cut_off=True)
    rows = []
    for number in range(6):
        size = (1, 400) if number == 0 else (40, 40)
        Image.effect_noise(size, 10 + number).save(tmp_path / f"{number}.png")
        rows.append({"id": f"r{number}", "image": f"{number}.png", "prompt": "w1", "answer": f"w2 {number}"})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    worker = as_worker(builder.worker(Context(lambda: policy, policy.ref, 0, 0), settings))
    with contextlib.closing(worker):
        block = described(tmp_path, worker, policy)
    [skip] = block["skips"]
    assert (skip["id"], skip["reason"], block["rows"]) == ("r0", "bad-image", 5)
    assert "an image of 1 x 400 pixels is none for this model" in skip["detail"]


def test_rows_that_fail_only_together_are_done_one_by_one_with_a_word(
    tmp_path: Path, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.png").write_bytes(png)
    rows = [{"id": f"r{n}", "image": "x.png", "prompt": "What?", "answer": f"It is {n}."} for n in range(3)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))

    def one_at_a_time(block: Sequence[Example]) -> list[Pair]:
        [example] = block
        return [Pair(example, "No.", "single", None, 1, 0)]

    assert described(tmp_path, as_worker(one_at_a_time))["rows"] == 3
    assert "3 rows, from r0 on, are done one by one, for together they fail: too many values" in caplog.text
