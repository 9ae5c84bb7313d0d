"""Evaluation in two processes against one: the same results, in whatever order and number they were begun and ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import forked
from tests.bench.conftest import png, pope_row, write_rows

BOTH = ["--benchmark", "chair", "--benchmark", "pope", "--limit", "60"]


def evaluation(output: Path, adapter: Path) -> list[str]:
    return ["evaluate", *BOTH, "--batch-size", "8", "--output", str(output), "--adapter", str(adapter)]


def lines(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    forked.run(evaluation(folder, adapter))
    return folder


def assert_same(run: Path, other: Path) -> None:
    for name in (
        "results.json",
        *(f"samples/{model}-{benchmark}.parquet" for model in ("base", "adapter") for benchmark in ("chair", "pope")),
    ):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.long
def test_two_processes_find_what_one_does(alone: Path, adapter: Path, tmp_path: Path) -> None:
    done = forked.run(evaluation(tmp_path / "two", adapter), 2)
    assert done.stdout.count("written to") == 1, "one process speaks"
    assert_same(tmp_path / "two", alone)
    assert json.loads((tmp_path / "two/run.json").read_text())["processes"] == 2
    for model in ("base", "adapter"):
        own = [lines(tmp_path / f"two/.mmpref/answers-{model}-chair.jsonl.{rank}") for rank in (0, 1)]
        assert min(map(len, own)) >= 20, "both worked"
        assert not set(own[0]) & set(own[1])
    again = forked.run(evaluation(tmp_path / "two", adapter), 2)
    assert again.stdout == done.stdout


@pytest.mark.long
def test_two_killed_processes_are_finished_by_one(alone: Path, adapter: Path, tmp_path: Path) -> None:
    kept = [tmp_path / f"cut/.mmpref/answers-base-chair.jsonl.{rank}" for rank in (0, 1)]
    forked.start(evaluation(tmp_path / "cut", adapter), 2).kill_once(
        tmp_path / "cut", lambda: all(path.is_file() and path.stat().st_size for path in kept)
    )
    before = [lines(path) for path in kept]
    forked.run(evaluation(tmp_path / "cut", adapter))
    assert_same(tmp_path / "cut", alone)
    assert [lines(path) for path in kept] == before
    rest = lines(tmp_path / "cut/.mmpref/answers-base-chair.jsonl")
    assert len(rest) + sum(map(len, before)) == 60, "nothing was asked twice"


@pytest.mark.long
def test_an_unreadable_image_of_another_process_is_missing_once(tmp_path: Path) -> None:
    for number, content in enumerate((png("red"), b"no image", png("blue"), png("green"))):
        (tmp_path / f"{number}.png").write_bytes(content)
    data = write_rows(tmp_path / "test.jsonl", [pope_row(number, f"{number}.png") for number in range(4)])
    common = [
        "evaluate",
        "--benchmark",
        "pope",
        "--set",
        f"benchmark.pope.data={data}",
        "--set",
        "benchmark.pope.max_new_tokens=4",
    ]
    forked.run([*common, "--output", str(tmp_path / "one")])
    done = forked.run([*common, "--output", str(tmp_path / "two")], 2)
    assert (tmp_path / "one/results.json").read_bytes() == (tmp_path / "two/results.json").read_bytes()
    assert done.stderr.count("1 of 4 samples of pope are missing") == 1
