"""A build's bytes do not depend on its history, and every row's fate is told."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpref.data import shards
from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import RunError, UsageError
from tests.data.reversed_rows import begin, recipe, run

pytestmark = pytest.mark.usefixtures("reverse")


def digests(output: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (output / "data").iterdir()}


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run(source, output).returncode == 0
    return output


def test_what_was_built(source: Path, whole: Path) -> None:
    import datasets

    manifest, report = (json.loads((whole / name).read_text()) for name in ("run.json", "report.json"))
    assert manifest["counts"] == {
        "rows": 19,
        "skipped": {"empty-answer": 1, "missing-image": 1, "no-image": 1, "same-as-chosen": 1},
        "changed": {"images_moved_first": 11},
    }
    assert report["changed"] == manifest["counts"]["changed"]
    with Image.open(whole / "statistics.png") as shown:  # by a process of its own, which draws it
        assert shown.size == (4 * 396, 308), "a panel for all that was measured"
        assert shown.convert("L").getextrema() == (0, 255)
    assert manifest["data"] == [
        {"path": f"data/{name}", "sha256": sha, "rows": 19} for name, sha in digests(whole).items()
    ]
    assert manifest["source"]["fingerprint"].startswith("sha256:")
    assert manifest["recipe"]["builder"]["similarity_threshold"] == 0.9, "the resolved settings, defaults and all"
    assert report["skipped"]["missing-image"]["first"][0]["id"] == "row9"
    assert "nowhere.png" in report["skipped"]["missing-image"]["first"][0]["detail"]
    # Answers of nine words and more were kept with a similarity that is not below the threshold: not resolved.
    assert [row["try"] for row in report["resolved"]] == [1, 2, 3]
    resolved = report["resolved"][-1]["share_of_pairs"]
    assert 0 < resolved < 1
    assert resolved == round(sum(row["pairs"] for row in report["resolved"]) / 19, 6), "of pairs, not of what was tried"
    assert sum(report["similarity"]["counts"]) == 19
    assert report["identical"] == 0

    rows = datasets.load_dataset(str(whole), split="train", cache_dir=str(whole.parent / "cache"))
    assert rows.features["images"] == datasets.List(datasets.Image())
    assert rows.column_names == [
        "images",
        "prompt",
        "chosen",
        "rejected",
        "id",
        "method",
        "similarity",
        "iterations",
        "seed",
        "source_id",
    ]
    encoded = list(rows.cast_column("images", datasets.List(datasets.Image(decode=False))))
    for row in encoded:
        number = int(row["id"].removeprefix("row"))
        assert row["images"] == [{"bytes": (source / f"{number}.png").read_bytes(), "path": f"{number}.png"}]
        assert row["prompt"] == [{"role": "user", "content": f"What is {number}?"}]
        assert row["rejected"][0]["content"].split() == row["chosen"][0]["content"].split()[::-1]
        assert row["source_id"] == f"rows.json/train/{number}"
    streamed = datasets.load_dataset(str(whole), split="train", streaming=True)
    for plain, other in zip(rows, streamed, strict=True):
        assert plain.pop("images")[0].tobytes() == other.pop("images")[0].tobytes()
        assert plain == other
    assert not (whole / ".mmpref/blocks").exists(), "the blocks are gone when run.json is there"


@pytest.mark.long
def test_killed_at_every_kind_of_moment(source: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    kills = 0
    for moment in (1, 2, 4, 7, 9, 12, 18, 22, 3, 5, 6):
        done = run(source, output, kill_at=moment)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        if (output / "run.json").exists():
            assert digests(output) == digests(whole), "the manifest is last"
    assert kills >= 5
    done = run(source, output)
    assert done.returncode == 0, done.stderr
    assert digests(output) == digests(whole)
    assert (output / "report.json").read_bytes() == (whole / "report.json").read_bytes()
    assert not list(output.rglob("*.tmp")), "nothing half-written stays"


@pytest.mark.long
def test_killed_ten_times_at_random_moments(source: Path, tmp_path: Path) -> None:
    values = {"model": "none", "source": str(source / "rows.json"), "method": "reverse", "block_size": 1}
    build_dataset(BuildRecipe(**values), tmp_path / "whole")
    slowly = {**values, "builder": {"wait": 0.08}}
    draws = random.Random(5)
    kills = number = 0
    while kills < 10:
        output = tmp_path / f"run{number}"
        signs = len(list(output.glob(".mmpref/worked/*")))
        process = begin(recipe=slowly, output=str(output))
        while process.poll() is None and len(list(output.glob(".mmpref/worked/*"))) == signs:
            time.sleep(0.01)
        time.sleep(draws.uniform(0, 0.6))
        process.kill()
        if process.poll() == 0:
            number += 1  # It was faster than the kill.
            assert digests(output) == digests(tmp_path / "whole")
        else:
            kills += 1
    assert run(source, output, recipe=slowly).returncode == 0
    assert digests(output) == digests(tmp_path / "whole")
    assert (output / "report.json").read_bytes() == (tmp_path / "whole/report.json").read_bytes()


@pytest.mark.long
def test_killed_while_merging(source: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(source, output, shard=[0, 2]).returncode == 0
    assert (output / ".mmpref/blocks/000000.json").exists()
    # What is left after the other half's blocks: the shard, the report, the manifest.
    for moment in (13, 2, 3, 4, 5, 6):
        done = run(source, output, kill_at=moment)
        assert done.returncode == -signal.SIGKILL, (moment, done.stderr)
        assert not (output / "run.json").exists() or digests(output) == digests(whole)
    assert run(source, output).returncode == 0
    assert digests(output) == digests(whole)


def test_shards_at_the_same_time(source: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    given = {"model": "none", "source": str(source / "rows.json"), "method": "reverse", "block_size": 4}
    started = [begin(recipe=given, output=str(output), shard=[index, 3]) for index in range(3)]
    told = [process.end() for process in started]
    assert [done.returncode for done in told] == [0, 0, 0], told
    assert any("recipe_hash" in done.stdout for done in told), "whoever was last merged"
    assert digests(output) == digests(whole)


def test_rows_whose_images_other_processes_decode_are_the_same(source: Path, whole: Path, tmp_path: Path) -> None:
    build_dataset(recipe(source), tmp_path / "run", workers=2)
    assert digests(tmp_path / "run") == digests(whole)
    reports = [json.loads((path / "report.json").read_text()) for path in (tmp_path / "run", whole)]
    assert reports[0] == reports[1]


def test_shards_one_after_the_other(source: Path, whole: Path, tmp_path: Path) -> None:
    parts = [build_dataset(recipe(source), tmp_path / "run", shard=(index, 2)) for index in (1, 0)]
    assert parts[0] == {"path": str(tmp_path / "run"), "shard": [1, 2], "blocks": 6, "waiting": 3}
    assert parts[1]["counts"]["rows"] == 19
    assert digests(tmp_path / "run") == digests(whole)


def test_a_run_without_shard_finishes_what_shards_left(source: Path, whole: Path, tmp_path: Path) -> None:
    build_dataset(recipe(source), tmp_path / "run", shard=(0, 3))
    build_dataset(recipe(source), tmp_path / "run")
    assert digests(tmp_path / "run") == digests(whole)


def test_a_damaged_block_is_made_again(source: Path, whole: Path, tmp_path: Path) -> None:
    build_dataset(recipe(source), tmp_path / "run", shard=(0, 2))
    block = tmp_path / "run/.mmpref/blocks/000002.parquet"
    block.write_bytes(block.read_bytes()[:-9])
    build_dataset(recipe(source), tmp_path / "run")
    assert digests(tmp_path / "run") == digests(whole)


@pytest.mark.parametrize("what", ["block", "shard"])
def test_a_full_disk(source: Path, whole: Path, tmp_path: Path, what: str) -> None:
    # A limit on the size of files fails as a full disk does.
    [shard] = (whole / "data").iterdir()
    done = run(source, tmp_path / "run", file_limit=shard.stat().st_size - 1 if what == "shard" else 3_000)
    assert done.returncode == 1
    assert "RunError: No room on the disk" in done.stderr
    assert not (tmp_path / "run/run.json").exists()
    assert (tmp_path / "run/.mmpref/blocks/000005.json").exists() == (what == "shard")
    assert not list((tmp_path / "run").rglob("*.parquet.*.tmp"))
    assert run(source, tmp_path / "run").returncode == 0
    assert digests(tmp_path / "run") == digests(whole)


def test_a_finished_run_needs_neither_source_nor_model(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "rows.json"
    copy.write_text((source / "rows.json").read_text())
    values = recipe(source, source=str(copy), image_root=(str(source),), limit=4)
    first = build_dataset(values, tmp_path / "run")
    copy.unlink()
    assert build_dataset(values, tmp_path / "run") == first


def test_another_recipe_is_refused(source: Path, whole: Path) -> None:
    before = digests(whole)
    with pytest.raises(RunError, match=r"builder.iterations: 3 there, 4 now"):
        build_dataset(recipe(source, builder={"iterations": 4}), whole)
    assert digests(whole) == before


def test_reasons_are_the_same_in_equal_builds(source: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = json.loads((source / "rows.json").read_text())[:4]
    rows[0]["image"] = "broken.png"
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    values = recipe(source, source=str(tmp_path / "rows.json"), image_root=(str(source), str(tmp_path)))
    for output in ("one", "two"):
        build_dataset(values, tmp_path / output)
    one, two = ((tmp_path / output / "report.json").read_text() for output in ("one", "two"))
    assert one == two
    assert "cannot identify image file" in one
    assert "0x" not in one


def test_large_data_goes_to_several_files(
    source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import pyarrow.parquet as pq

    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 3_000)
    monkeypatch.setattr(shards, "SHARD_BYTES", 8_000)
    manifest = build_dataset(recipe(source), tmp_path / "run")
    files = sorted((tmp_path / "run/data").iterdir())
    assert len(files) > 1
    assert files[0].name == f"train-00000-of-{len(files):05d}.parquet"
    assert [entry["rows"] for entry in manifest["data"]] == [pq.read_metadata(file).num_rows for file in files]
    assert pq.ParquetFile(files[0]).num_row_groups > 1
    cache = {"cache_dir": str(tmp_path / "cache"), "split": "train"}
    for one, other in zip(
        datasets.load_dataset(str(whole), **cache), datasets.load_dataset(str(tmp_path / "run"), **cache), strict=True
    ):
        one.pop("images"), other.pop("images")
        assert one == other


def test_a_second_rejected_answer_has_a_column(source: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    build_dataset(recipe(source, builder={"second": True}), tmp_path / "run")
    rows = pq.read_table(tmp_path / "run/data").select(["id", "rejected_policy"]).to_pylist()
    assert {row["id"]: row["rejected_policy"] for row in rows if row["rejected_policy"]} == {
        name: [{"role": "assistant", "content": "Nothing."}] for name in ("row3", "row13")
    }


def test_the_card_is_written_before_the_manifest(source: Path, tmp_path: Path) -> None:
    told = []

    def write_card(path: Path, manifest: dict[str, Any]) -> None:
        told.append((manifest["counts"]["rows"], (path / "report.json").exists(), (path / "run.json").exists()))

    build_dataset(recipe(source), tmp_path / "run", write_card=write_card)
    assert told == [(19, True, False)]


def test_progress_tells_rows_and_outcomes(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    build_dataset(recipe(source), tmp_path / "run", on_progress=lambda rows, made: told.append((rows, len(made))))
    assert told == [(23, 0), (23, 4), (23, 4), (23, 4), (23, 4), (23, 4), (23, 3)]


def test_white_space_around_answers_is_no_part_of_them(tmp_path: Path, source: Path) -> None:
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "  A dog.\n"}]
    image = str(source / "1.png")
    (tmp_path / "rows.json").write_text(json.dumps([{"messages": turns, "image": Path(image).name}]))
    build_dataset(recipe(source, source=str(tmp_path / "rows.json"), image_root=(str(source),)), tmp_path / "run")
    [row] = pq.read_table(next((tmp_path / "run/data").iterdir())).to_pylist()
    assert row["chosen"] == [{"role": "assistant", "content": "A dog."}]


def test_a_licence_that_comes_after_the_end_is_told(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values, made = recipe(source, limit=4), tmp_path / "run"
    first = build_dataset(values, made)
    assert build_dataset(values, made, licence="MIT") == first
    assert "its card says unknown still" in caplog.text
    assert f"`mmpref publish {made} --license MIT`" in caplog.text
    with pytest.raises(UsageError, match="'mti' is no licence id of the Hub"):
        build_dataset(values, made, licence="mti")
    caplog.clear()
    for _ in range(2):
        manifest = build_dataset(values, tmp_path / "licensed", licence="mit")
        assert manifest["source"]["licence"] == "mit"
    assert "--license" not in caplog.text
