"""The command as users run it: killed, cut into shards, repeated."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from tests import bare, forked
from tests.hub_fixtures import HubAccount

RECIPE = ("--limit", "24", "--set", "block_size=4")


def _words(output: Path, *more: str) -> list[str]:
    return ["build-dataset", *RECIPE, "--output", str(output), *more]


def _run(output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return forked.mmpref(_words(output, *more))


def _digests(output: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((output / "data").iterdir())}


def _blocks(output: Path) -> int:
    return sum(1 for _ in output.rglob("*.parquet"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    result = _run(output, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["counts"]["rows"] > 0
    return output


@pytest.mark.long
def test_a_run_that_was_killed_often_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    draws = random.Random(0)
    output = tmp_path / "run"
    unfinished = 0
    for longest in (
        0,
        0.1,
        0.2,
        0.4,
    ):  # the first is killed at its first block: a fast machine may finish in the pauses
        before = _blocks(output)
        process = forked.start(_words(output))
        while process.poll() is None and _blocks(output) == before:
            time.sleep(0.01)
        time.sleep(draws.uniform(0, longest))
        process.kill()
        unfinished += not (output / "data").is_dir()
    assert unfinished > 0
    finished = _run(output)
    assert finished.returncode == 0, finished.stderr
    assert _digests(output) == _digests(built)


@pytest.mark.long
def test_shards_merge_to_the_same_bytes(built: Path, tmp_path: Path) -> None:
    for shard in ("2/3", "0/3", "1/3"):
        result = _run(tmp_path / "run", "--shard", shard)
        assert result.returncode == 0, result.stderr
    assert _digests(tmp_path / "run") == _digests(built)


@pytest.mark.long
def test_launched_processes_build_the_same_bytes_together(built: Path, tmp_path: Path) -> None:
    result = forked.run(_words(tmp_path / "run", "--json"), 2)
    assert json.loads(result.stdout)["counts"]["rows"] > 0, "only one of them tells"
    assert _digests(tmp_path / "run") == _digests(built)
    assert len(list((tmp_path / "run/.mmpref").glob("lock-*-of-2"))) == 2


def test_another_recipe_is_refused(built: Path) -> None:
    before = _digests(built)
    result = _run(built, "--seed", "7")
    assert result.returncode == 1
    assert "seed" in result.stderr
    assert "Traceback" not in result.stderr
    assert _digests(built) == before


def test_a_finished_run_needs_no_model(built: Path) -> None:
    code = (
        "import sys\n"
        "from mmpref.cli.main import program\n"
        f"program.main({_words(built)!r}, standalone_mode=False)\n"
        "print('model loaded' if 'sentence_transformers' in sys.modules else 'light', file=sys.stderr)\n"
    )
    result = bare.python(code, environment=os.environ)
    assert result.returncode == 0, result.stderr
    assert "light" in result.stderr


def test_plain_and_streamed_rows_are_equal(built: Path) -> None:
    import datasets

    plain = datasets.load_dataset(str(built / "data"), split="train")
    streamed = datasets.load_dataset(str(built / "data"), split="train", streaming=True)
    assert len(plain) > 0
    for left, right in zip(plain, streamed, strict=True):
        assert left["images"][0].tobytes() == right["images"][0].tobytes()
        assert {name: left[name] for name in left if name != "images"} == {
            name: right[name] for name in right if name != "images"
        }


def test_an_empty_source_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    result = _run(tmp_path / "run", "--source", str(tmp_path / "empty.jsonl"))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 2, "what it was about to do, and why it does not"
    assert "no rows" in result.stderr


def test_the_testbeds_limit_is_not_for_a_source_of_ones_own(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"id": str(n), "question": "q", "answer": "a"}) + "\n" for n in range(1700)))
    done = forked.mmpref(["build-dataset", "--source", source, "--output", tmp_path / "r"])
    assert "no-image: 1700" in done.stderr


def test_a_column_of_photos_under_another_name_is_found_by_the_message(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text("file;question;caption\nIMG_1.JPG;What is this?;A cup.\n")
    done = forked.mmpref(["build-dataset", "--source", source, "--output", tmp_path / "r"])
    said = " ".join(done.stderr.split())
    assert (
        "Row 0: file is not read as an image. Name the column that has the images with --columns=image=COLUMN." in said
    )
    done = forked.mmpref(["build-dataset", "--source", source, "--output", tmp_path / "r", "--columns", "image=file"])
    assert "The only image of " in done.stderr


def test_a_push_without_an_id_goes_to_the_users_repository_of_the_folders_name(
    tmp_path: Path, hub: HubAccount, hub_env: dict[str, str]
) -> None:
    words = [
        "build-dataset",
        "--method",
        "mismatched",
        "--limit",
        "4",
        "--output",
        tmp_path / "run",
        "--push",
        "--json",
    ]
    done = bare.mmpref(words, hub_env, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["published"] == f"{hub.endpoint}/datasets/{hub.name}/run"
