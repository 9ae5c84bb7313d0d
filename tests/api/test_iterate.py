"""Rounds on the testbed: what each is made with, what decides, what is shown, and that a kill changes nothing."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from datasets import Dataset

import mmpref
from mmpref.api.build import run_build
from mmpref.api.chain import chain_of
from mmpref.api.results import Iterated
from mmpref.bench.answer_cache import FOLDER
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.cli.main import program
from mmpref.errors import RunError
from mmpref.run.results import ADAPTER, ALL, BASE, Key, Results
from mmpref.tables.open import open_table
from tests.api.chains import SECTIONS, written
from tests.forked import start


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory, with the recipe in it: what is written in runs are relative paths."""
    place = tmp_path_factory.mktemp("iterate")
    written(place)
    with contextlib.chdir(place):
        yield place


ASKED: list[tuple[str, int]] = []
"""What the model was asked in the chain: model, and how many samples."""


@pytest.fixture(scope="module")
def whole(folder: Path) -> Iterated:
    answer = LocalAnswerer.__call__

    def counted(self: LocalAnswerer, samples: Sequence[Any], limit: int, models: Sequence[str]) -> Any:
        ASKED.extend((model, len(samples)) for model in models)
        return answer(self, samples, limit, models)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(FOLDER, raising=False)
        patch.setattr(LocalAnswerer, "__call__", counted)
        return mmpref.iterate("my.yaml", output="out", progress=False)


def manifest(step: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("out", step, "run.json").read_text())
    return content


def test_a_round_builds_on_new_rows_with_the_policy_of_the_round_before_and_goes_on_from_it(whole: Iterated) -> None:
    first, second = (manifest(f"round-{number}/build-dataset") for number in (1, 2))
    trained = manifest("round-1/train"), manifest("round-2/train")
    assert "adapter" not in first
    assert second["adapter"] == trained[1]["began"]
    assert second["adapter"]["id"] == "out/round-1/train"
    assert (second["recipe"]["skip"], second["recipe"]["limit"], second["recipe"]["seed"]) == (12, 12, 1)
    ids = [
        set(mmpref.BuiltDataset(Path(f"out/round-{n}/build-dataset"), m).to_pandas()["id"])
        for n, m in ((1, first), (2, second))
    ]
    assert len(ids[0]) > 8 < len(ids[1])
    assert not ids[0] & ids[1]
    losses = [json.loads(line)["loss"] for line in Path("out/round-2/train/log.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6), "the reference is the policy of the round before"
    assert losses[-1] != pytest.approx(math.log(2), abs=1e-3)


def test_a_finished_chain_is_complete_until_its_source_changes(whole: Iterated) -> None:
    moved = Path(shutil.copytree("out", "moved"))
    assert mmpref.iterate("my.yaml", output=moved, progress=False).manifest == whole.manifest
    rows = Path("rows.jsonl")
    rows.write_text('{"prompt": "What is it?", "answer": "A cup."}\n')
    then = {"id": str(rows), "split": "train", "revision": None, "fingerprint": "sha256:another", "licence": None}
    built = manifest("round-1/build-dataset") | {"source": then}
    (moved / "round-1/build-dataset/run.json").write_text(json.dumps(built))
    with pytest.raises(RunError, match=r"The source rows\.jsonl has changed since moved/round-1/build"):
        mmpref.iterate("my.yaml", output=moved, progress=False)


def test_the_base_of_its_evaluation_in_the_end_is_looked_at_too(whole: Iterated) -> None:
    with (
        of_another_base(Path("out/test-of-round-1")),
        pytest.raises(RunError, match=r"model has changed since out/test-"),
    ):
        mmpref.iterate("my.yaml", output="out", progress=False)


@contextlib.contextmanager
def of_another_base(evaluation: Path) -> Iterator[None]:
    """Within it an evaluation was begun with another base."""
    pinned = evaluation / ".mmpref/began.json"
    before = pinned.read_text()
    began = json.loads(before)
    pinned.write_text(json.dumps({**began, "model": {**began["model"], "files": "sha256:another"}}))
    yield
    pinned.write_text(before)


def test_what_decides_is_what_was_measured(whole: Iterated) -> None:
    key = Key("chair", "chair_i_typical", ALL)
    evaluated = [Results.read(Path(f"out/round-{number}/evaluate")) for number in (1, 2)]
    assert whole.manifest["base"]["value"] == evaluated[0].by_key(BASE)[key].value
    for one, results in zip(whole.rounds, evaluated, strict=True):
        assert one.value == results.by_key(ADAPTER)[key]
        assert one.kl is not None
        assert one.kl > 0
    best = [whole.manifest["base"]["value"], whole.rounds[0].value.value]
    assert whole.rounds[0].difference == evaluated[0].differences_by_key()[key]
    assert (whole.rounds[0].outcome, whole.kept) == ("kept", 1)
    assert whole.rounds[0].value.value < best[0]
    second = whole.rounds[1]
    assert (second.before, second.outcome) == (1, "no better")
    assert second.difference is not None
    assert second.difference.value == pytest.approx(second.value.value - best[1])
    assert whole.manifest["chosen_on"]["data"]["split"] == "dev"
    assert whole.manifest["reported_on"]["chair"]["data"]["split"] == "test"
    assert whole.adapter == Path("out/round-1/train")
    assert whole.test is not None
    assert whole.test.adapter is not None
    assert whole.test.adapter["id"] == "out/round-1/train"


def test_the_base_is_asked_once_on_each_data_and_scores_as_if_asked_again(whole: Iterated) -> None:
    limit = SECTIONS["evaluate"]["limit"]
    asked = {model: sum(count for name, count in ASKED if name == model) for model in (BASE, ADAPTER)}
    assert asked == {BASE: 2 * limit, ADAPTER: 3 * limit}, "dev in two rounds, and test"
    recipe = manifest("round-2/evaluate")["recipe"]
    again = mmpref.evaluate(
        recipe="my.yaml", benchmarks="chair", split="dev", adapter=recipe["adapter"], output="again", progress=False
    )
    assert again.manifest["recipe"] == recipe
    assert Path("again/results.json").read_bytes() == Path("out/round-2/evaluate/results.json").read_bytes()
    assert not [path for path in Path("out/.mmpref").rglob("*") if "answers" in path.name]


def test_the_command_line_shows_the_same_within_80_columns(whole: Iterated) -> None:
    runner = CliRunner(env={"COLUMNS": "80"})
    told = runner.invoke(program, ["iterate", "my.yaml", "--output", "out"], catch_exceptions=False).stdout
    table = told.partition("Round 1 is kept: out/round-1/train.")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(r"^2 +1\d +4 +0\.\d{3} +\+0\.\d{3} \[.*\] +0\.\d{3} +no better$", table.replace(" \n", "\n"), re.M)
    assert "which chose nothing" in told
    assert "chair chair_i" in told.partition("verdict")[2], "the adapter's results on the test split"
    shown = json.loads(
        runner.invoke(program, ["iterate", "my.yaml", "--output", "out", "--json"], catch_exceptions=False).stdout
    )
    assert {name: shown[name] for name in whole.manifest} == json.loads(json.dumps(whole.manifest))
    assert repr(whole).startswith("rounds: chair/chair_i_typical ↓ on testbed-chair:dev\n")


def test_the_commands_of_a_dry_run_are_the_runs(whole: Iterated) -> None:
    runner = CliRunner()
    dry = runner.invoke(program, ["iterate", "my.yaml", "--output", "out", "--dry-run"], catch_exceptions=False)
    commands = [shlex.split(line)[1:] for line in dry.stdout.splitlines() if " --output " in line]
    assert [(words[0], words[-1]) for words in commands] == [
        (step, f"out/round-{number}/{step}") for number in (1, 2) for step in ("build-dataset", "train", "evaluate")
    ]
    before = {file: file.read_bytes() for file in Path("out").rglob("*.*") if file.is_file()}
    for words in commands:
        done = runner.invoke(program, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert before == {file: file.read_bytes() for file in Path("out").rglob("*.*") if file.is_file()}


def test_its_card_shows_all_rounds_and_what_chose(whole: Iterated) -> None:
    card = Path("out/README.md").read_text()
    rounds = card.partition("## Rounds")[2].partition("\n## ")[0]
    rows = [line for line in rounds.splitlines() if line.startswith("| ") and "---" not in line]
    assert [row.split("|")[1].strip() for row in rows] == ["round", "base", "1", "2"]
    assert rows[2].count("not published") == 1
    assert "This is the adapter of round 1." in rounds
    assert "chosen on <code>testbed-chair:dev</code>" in rounds
    assert "Results are of <code>testbed-chair:test</code>, which chose nothing." in rounds
    assert "chair_i" in card.partition("<!-- mmpref:end -->")[2], "its results stand in the card"
    assert str(Path.cwd()) not in card


def files_of(chain: Path) -> dict[str, bytes]:
    """What a chain leaves that does not tell the time."""
    kept = ("*.safetensors", "*.parquet", "results.json", "kl.json", "README.md", "report.json")
    return {
        str(file.relative_to(chain)): file.read_bytes()
        for pattern in kept
        for file in chain.rglob(pattern)
        if ".mmpref" not in file.parts
    }


@pytest.mark.long
def test_killed_in_a_training_a_build_and_an_evaluation_it_ends_the_same(whole: Iterated, tmp_path: Path) -> None:
    written(tmp_path)
    out = tmp_path / "out"
    moments = (
        lambda: any((out / "round-1/train/.mmpref/training").rglob("checkpoint-2")),
        lambda: (out / "round-2/build-dataset/.mmpref").is_dir(),
        lambda: (out / "round-2/evaluate/.mmpref").is_dir(),
        lambda: (out / "test-of-round-1/.mmpref").is_dir(),
    )
    for moment in moments:
        start(["iterate", "my.yaml", "--output", "out"], folder=tmp_path).kill_once(out, moment)
        assert moment()
    done = start(["iterate", "my.yaml", "--output", "out"], folder=tmp_path).end()
    assert done.returncode == 0, done.stderr[-3000:]
    assert files_of(out) == files_of(Path("out"))
    ended = [json.loads((place / "run.json").read_text()) for place in (out, Path("out"))]
    assert {**ended[0], "seconds": 0} == {**ended[1], "seconds": 0}


def test_another_chain_does_not_go_on_in_its_folder(whole: Iterated) -> None:
    with pytest.raises(RunError, match=r"iterate\.patience: 2 there, 1 now"):
        mmpref.iterate("my.yaml", patience=1, output="out")


def test_a_source_that_changed_is_refused_in_the_next_round(tmp_path: Path) -> None:
    rows = [row for _, row in zip(range(30), open_table("testbed"), strict=False)]
    source = tmp_path / "rows.parquet"
    Dataset.from_list(rows[:28]).to_parquet(source)
    written(tmp_path, **{"build-dataset": {"source": str(source), "limit": 12, "method": "mismatched"}})
    chain = chain_of(str(tmp_path / "my.yaml"), {}, {})
    build = chain.calls(1, tmp_path / "out").build.resolved()
    first = run_build(build, tmp_path / "out/round-1/build-dataset", progress=False)
    Dataset.from_list(rows[1:29]).to_parquet(source)
    second = chain.calls(2, tmp_path / "out").build.resolved()
    with pytest.raises(RunError, match=r"rows.parquet has changed since earlier rounds were built on it"):
        run_build(second, tmp_path / "second", begun=first.manifest["source"], progress=False)
    Dataset.from_list(rows[:28]).to_parquet(source)
    assert run_build(second, tmp_path / "second", begun=first.manifest["source"], progress=False).manifest["counts"]


@pytest.mark.long
def test_more_rounds_go_on_from_those_that_are_there(whole: Iterated) -> None:
    kept = files_of(Path("out"))
    assert mmpref.iterate("my.yaml", rounds=1, output="out").manifest == whole.manifest, "what is done stays done"
    more = mmpref.iterate("my.yaml", rounds=3, output="out", progress=False)
    assert more.rounds[:2] == whole.rounds
    assert (len(more.rounds), more.rounds[2].before) == (3, 1)
    assert more.manifest["stopped"] == (
        "3 rounds were asked for" if more.kept == 3 else "2 rounds in a row were no improvement"
    )
    now = files_of(Path("out"))
    assert {name: now[name] for name in kept if name != "README.md"} == {
        name: one for name, one in kept.items() if name != "README.md"
    }


def test_the_adapter_that_a_chain_begins_with_is_what_its_first_round_must_beat(whole: Iterated) -> None:
    key, first = Key("chair", "chair_i_typical", ALL), "out/round-1/train"
    overrides = {"train.adapter": first, "train.trainer.max_steps": 1, "train.trainer.save_steps": 100}
    options: dict[str, Any] = {"rounds": 1, "kl_prompts": 0, "set": overrides}
    done = mmpref.iterate("my.yaml", **options, output="from", progress=False)
    begun = Results.read(Path("from/round-0/evaluate")).by_key(ADAPTER)[key]
    assert begun == whole.rounds[0].value, "the same adapter on the same data"
    assert begun.value != done.manifest["base"]["value"] == whole.manifest["base"]["value"]
    [one] = done.rounds
    assert one.difference is not None
    assert one.difference.value == pytest.approx(one.value.value - begun.value)
    assert done.manifest["begun"] == {"adapter": done.manifest["begun"]["adapter"], "value": begun.as_dict()}
    assert done.manifest["begun"]["adapter"]["id"] == first
    assert [row[0] for row in done.table()[1]] == ["base", "0", "1"]
    assert first in done.remarks()[0]
    assert mmpref.iterate("my.yaml", **options, output="from", progress=False).manifest == done.manifest
    with (
        of_another_base(Path("from/round-0/evaluate")),
        pytest.raises(RunError, match="has changed since from/round-0/"),
    ):
        mmpref.iterate("my.yaml", **options, output="from", progress=False)
