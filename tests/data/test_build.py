"""A build's bytes do not depend on its history, and every row's fate is told."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpref import registry
from mmpref.data import shards
from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import InputError, ModelError, RunError, UsageError
from mmpref.run.manifest import read_manifest
from tests.forked import Forked

ROWS = 23


@pytest.fixture(autouse=True)
def reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._modules("mmpref.builders"), "reverse", "tests.data.reverse")


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((40, 40), 10 + number).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    rows = []
    for number in range(ROWS):
        (folder / f"{number}.png").write_bytes(picture(number))
        answer = "One." if number == 4 else f"Number {number} has " + "word " * (number % 9) + "in it."
        value = f"<image>\nWhat is {number}?" if number % 2 else f"What is {number}?\n<image>"
        turns = [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
        rows.append({"id": f"row{number}", "image": f"{number}.png", "conversations": turns})
    del rows[7]["image"]
    rows[9]["image"] = "nowhere.png"
    rows[11]["conversations"][1]["value"] = " "
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def recipe(folder: Path, **changes: Any) -> BuildRecipe:
    values: dict[str, Any] = {
        "model": "none",
        "source": str(folder / "rows.json"),
        "method": "reverse",
        "block_size": 4,
    }
    return BuildRecipe(**{**values, **changes})


def run(source: Path, output: Path, **given: Any) -> subprocess.CompletedProcess[str]:
    what = {"model": "none", "source": str(source / "rows.json"), "method": "reverse", "block_size": 4}
    settings = {**what, **given.pop("recipe", {})}
    return begin(recipe=settings, output=str(output), **given).end()


def begin(**given: Any) -> Forked:
    return Forked("tests.data.reverse:main", [given])


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


def test_a_finished_run_is_not_shown_as_that_of_another_adapter(source: Path, tmp_path: Path) -> None:
    weights = tmp_path / "adapter/adapter_model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"first")
    values = recipe(source, adapter=str(weights.parent), limit=4)
    build_dataset(values, tmp_path / "run")
    facts = {"id": str(weights.parent), "revision": None, "weights": hashlib.sha256(b"first").hexdigest()}
    manifest = {**read_manifest(tmp_path / "run"), "adapter": facts}  # this method loads no model
    (tmp_path / "run/run.json").write_text(json.dumps(manifest))
    assert build_dataset(values, tmp_path / "run") == manifest
    weights.write_bytes(b"second")
    with pytest.raises(RunError, match="is another than"):
        build_dataset(values, tmp_path / "run")
    weights.unlink()
    assert build_dataset(values, tmp_path / "run") == manifest


def test_a_source_that_changed_is_refused(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "rows.json"
    copy.write_text((source / "rows.json").read_text())
    values = recipe(source, source=str(copy), image_root=(str(source),))
    build_dataset(values, tmp_path / "run", shard=(0, 2))
    copy.write_text(copy.read_text() + "\n")
    with pytest.raises(RunError, match="has changed"):
        build_dataset(values, tmp_path / "run")


def test_another_recipe_is_refused(source: Path, whole: Path) -> None:
    before = digests(whole)
    with pytest.raises(RunError, match=r"builder.iterations: 3 there, 4 now"):
        build_dataset(recipe(source, builder={"iterations": 4}), whole)
    assert digests(whole) == before


def test_one_example_that_breaks_the_method_is_skipped_alone(source: Path, tmp_path: Path) -> None:
    answer = "Number 2 has word word in it."
    manifest = build_dataset(recipe(source, builder={"poison": answer}), tmp_path / "run")
    assert manifest["counts"]["skipped"]["failed"] == 1
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["skipped"]["failed"]["first"] == [
        {"id": "row2", "detail": "ZeroDivisionError: cannot digest this answer"}
    ]


@pytest.mark.parametrize(("poison", "error"), [("every", ZeroDivisionError), ("no model", ModelError)])
def test_a_method_that_breaks_on_all_is_not_the_rows_fault(
    source: Path, tmp_path: Path, poison: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        build_dataset(recipe(source, builder={"poison": poison}), tmp_path / "run")


@pytest.mark.parametrize("block_size", [1, 4])
@pytest.mark.parametrize("poison", ["every", "every, and an image"])
def test_nor_is_any_row_told_as_skipped(
    source: Path, tmp_path: Path, poison: str, block_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    values = recipe(source, builder={"poison": poison}, block_size=block_size)
    with pytest.raises(ZeroDivisionError), caplog.at_level("WARNING", "mmpref"):
        build_dataset(values, tmp_path / "run")
    told = [record.getMessage() for record in caplog.records if "is skipped" in record.getMessage()]
    assert len(told) <= (1 if block_size > 1 else 2), told


def test_no_usable_row_tells_why(source: Path, tmp_path: Path) -> None:
    rows = json.loads((source / "rows.json").read_text())
    (tmp_path / "bad.json").write_text(json.dumps([rows[7], rows[9], rows[11]]))
    values = recipe(source, source=str(tmp_path / "bad.json"), image_root=(str(source),))
    for _ in range(2):
        with pytest.raises(InputError, match=r"\(empty-answer: 1, missing-image: 1, no-image: 1\).*nowhere.png"):
            build_dataset(values, tmp_path / "run")
    assert not (tmp_path / "run/run.json").exists()


def test_a_mistyped_source_does_not_claim_the_directory(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        build_dataset(recipe(source, source="./typo.json"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert build_dataset(recipe(source, limit=4), tmp_path / "run")["counts"] == {
        "rows": 4,
        "skipped": {},
        "changed": {"images_moved_first": 2},
    }


def test_an_unexpected_error_does_not_claim_the_directory_either(source: Path, tmp_path: Path) -> None:
    for shard in (None, (0, 1)):
        with pytest.raises(ZeroDivisionError):
            build_dataset(recipe(source, builder={"poison": "every"}), tmp_path / "run", shard=shard)
        assert not (tmp_path / "run").exists()
    assert build_dataset(recipe(source), tmp_path / "run")["counts"]["rows"] == 19


def test_a_build_that_fails_half_way_keeps_its_blocks(source: Path, tmp_path: Path) -> None:
    def fail(rows: int, outcomes: Any) -> None:
        if outcomes:
            raise RuntimeError("the machine is gone")

    with pytest.raises(RuntimeError):
        build_dataset(recipe(source), tmp_path / "run", on_progress=fail)
    assert (tmp_path / "run/.mmpref/blocks/000000.json").exists()
    with pytest.raises(RunError, match="another recipe"):
        build_dataset(recipe(source, seed=1), tmp_path / "run")


def test_rows_that_cannot_be_used_do_not_claim_the_directory(source: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(json.loads((source / "rows.json").read_text())[:4]))
    values = recipe(source, source=str(tmp_path / "rows.json"))
    with pytest.raises(InputError, match="None of the 4 images"):
        build_dataset(values, tmp_path / "run")
    rooted = dataclasses.replace(values, image_root=(str(source),))
    assert build_dataset(rooted, tmp_path / "run")["counts"] == {
        "rows": 4,
        "skipped": {},
        "changed": {"images_moved_first": 2},
    }


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


def test_wrong_settings(source: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"builder": {"iteration": 1}}, "Did you mean 'iterations'"),
        ({"method": "revers"}, "Did you mean 'reverse'"),
        ({"limit": 0}, "at least 1"),
        ({"block_size": 0}, "at least 1"),
    ):
        with pytest.raises(UsageError, match=message):
            build_dataset(recipe(source, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


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


def test_bad_rows_that_fill_a_block_do_not_stop_the_rest(source: Path, tmp_path: Path) -> None:
    bad = {"poison": "row16,row17,row18,row19"}
    manifest = build_dataset(recipe(source, block_size=4, builder=bad), tmp_path / "run")
    assert manifest["counts"]["skipped"]["failed"] == 4
    assert manifest["counts"]["rows"] == ROWS - sum(manifest["counts"]["skipped"].values())


def test_too_little_memory_is_not_the_rows_fault(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="memory") as raised:
        build_dataset(recipe(source, builder={"poison": "memory"}), tmp_path / "run")
    assert "batch_size" in raised.value.hint


def test_white_space_around_answers_is_no_part_of_them(tmp_path: Path, source: Path) -> None:
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "  A dog.\n"}]
    image = str(source / "1.png")
    (tmp_path / "rows.json").write_text(json.dumps([{"messages": turns, "image": Path(image).name}]))
    build_dataset(recipe(source, source=str(tmp_path / "rows.json"), image_root=(str(source),)), tmp_path / "run")
    [row] = pq.read_table(next((tmp_path / "run/data").iterdir())).to_pylist()
    assert row["chosen"] == [{"role": "assistant", "content": "A dog."}]
