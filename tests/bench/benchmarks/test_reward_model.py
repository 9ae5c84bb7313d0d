"""Reward models on labelled pairs: the values that the run gives, chance for the base, accuracy by source."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.bootstrap import Clusters, replicates
from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.while_training import PeriodicEvaluator
from mmpref.errors import InputError, ModelError, UsageError
from mmpref.hub.cards.snippets import load_rewards
from mmpref.images import decode
from mmpref.recipes import resolve
from mmpref.tables.open import open_table
from mmpref.types import Message, ModelRef
from mmpref.vlm.reward_model import RewardModel

from ..conftest import MODEL, png, write_rows
from .conftest import records, values, write_parquet

NAME = "reward-model"
BENCHMARK = BENCHMARKS.get(NAME)
PAIRS = 32


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first pairs of the test split, as a folder that has this split."""
    folder = tmp_path_factory.mktemp("pairs")
    write_parquet(folder / "test.parquet", list(itertools.islice(open_table("testbed-pairs", "test"), PAIRS)))
    return folder


@pytest.fixture(scope="module")
def reward(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model after a few steps on pairs of the dev split, with its accuracy on pairs of the test split."""
    trainer = {
        "learning_rate": 3e-3,
        "max_steps": 4,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
    }
    recipe = TrainRecipe(
        MODEL,
        ("testbed-pairs",),
        NAME,
        lora=LoraSettings(4, 8),
        trainer=trainer,
        split="dev",
        loss={"held_out": (f"{pairs}:test",)},
    )
    folder = tmp_path_factory.mktemp("reward") / "run"
    train(recipe, folder)
    return folder


def recipe(adapter: Path | None, **changes: Any) -> EvaluateRecipe:
    block = resolve.load("testbed")["evaluate"]["benchmark"][NAME]
    changes = {"limit": PAIRS, "benchmark": {NAME: block}, **changes}
    return EvaluateRecipe(MODEL, (NAME,), adapter=str(adapter) if adapter else None, **changes)


def _of(found: dict[str, Any], model: str) -> dict[tuple[str, str], dict[str, Any]]:
    return values({"results": [row for row in found["results"] if row["model"] == model]})


def test_accuracy_is_that_which_training_measures(reward: Path, pairs: Path, tmp_path: Path) -> None:
    settings = {NAME: {"data": str(pairs), "split": "test"}}
    found = evaluate(recipe(reward, limit=None, benchmark=settings), tmp_path / "run")
    held = json.loads((reward / "run.json").read_text())["held_out"][f"{pairs}:test"]
    one = _of(found, "adapter")["accuracy", "all"]
    assert (one["value"], one["n"]) == (pytest.approx(held["accuracy"]), held["rows"])
    assert held["rows"] == PAIRS
    assert one["low"] < one["value"] < one["high"]
    assert 0 < one["value"] < 1
    assert _of(found, "adapter")["accuracy", "captions"]["value"] == one["value"]


def test_the_answers_are_the_values_of_the_run(reward: Path, tmp_path: Path) -> None:
    evaluate(recipe(reward, limit=3), tmp_path / "run", batch_size=2)
    lines = (tmp_path / "run/.mmpref" / f"answers-adapter-{NAME}.jsonl").read_text().splitlines()
    model = RewardModel.load(ModelRef(MODEL, adapter=str(reward)))
    task = BENCHMARK.task(BENCHMARK.settings())
    for line, sample in zip(lines, task.samples(open_table("testbed-pairs", "test"), 3), strict=True):
        answers = [sample.reference["chosen"], sample.reference["rejected"]]
        said = model.score([decode(sample.image)], sample.messages, answers)
        assert list(json.loads(json.loads(line)["answer"]).values()) == pytest.approx(said, abs=1e-5)


def test_the_base_stands_at_chance_and_the_image_counts(reward: Path, tmp_path: Path) -> None:
    found = evaluate(recipe(reward), tmp_path / "run")
    base, adapter = _of(found, "base"), _of(found, "adapter")
    assert [base["accuracy", "all"][name] for name in ("value", "low", "high", "n")] == [0.5, 0.5, 0.5, PAIRS]
    assert base["margin", "all"]["value"] == 0
    moved = next(row for row in found["differences"] if (row["metric"], row["split"]) == ("accuracy", "all"))
    assert moved["value"] == pytest.approx(adapter["accuracy", "all"]["value"] - 0.5)
    assert (moved["test"], moved["p_holm"]) == ("McNemar", moved["p"])
    blind = evaluate(recipe(reward, blind="no-image"), tmp_path / "blind")
    assert {row["benchmark"] for row in blind["results"]} == {f"{NAME}-blind-no-image"}
    assert _of(blind, "adapter")["margin", "all"]["value"] != adapter["margin", "all"]["value"]


def test_shares_by_source_and_equal_values(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "prompt": "What?", "chosen": "a", "rejected": "b", "source": source}
        for source in ("vlfeedback", "vlfeedback", "povid", None)
    ]
    (tmp_path / "a.png").write_bytes(png("red"))
    task = BENCHMARK.task(BENCHMARK.settings())
    samples = task.samples(open_table(str(write_rows(tmp_path / "train.jsonl", rows))), None)
    said = [(2, 1), (1, 3), (0.5, 0.5), (-1, -2)]
    scores = [
        task.score(sample, json.dumps({"chosen": chosen, "rejected": rejected}))
        for sample, (chosen, rejected) in zip(samples, said, strict=True)
    ]
    assert [score.parsed for score in scores] == ["chosen", "rejected", "equal", "chosen"]
    clusters = Clusters.of([sample.image_id for sample in samples], scores)
    found = {(one.name, one.part): float(replicates(clusters, one, 0)[0]) for one in task.metrics(scores)}
    assert found == {
        ("accuracy", "all"): 2.5 / 4,
        ("accuracy", "vlfeedback"): 1 / 2,
        ("accuracy", "povid"): 1 / 2,
        ("margin", "all"): (1 - 2 + 0 + 1) / 4,
    }


def test_an_unreadable_image_is_missing(reward: Path, tmp_path: Path) -> None:
    row = {"prompt": "What?", "chosen": "A red cup.", "rejected": "A blue fork."}
    (tmp_path / "a.png").write_bytes(png("red"))
    file = write_rows(tmp_path / "train.jsonl", [{**row, "image": "a.png"}, {**row, "image": "none.png"}])
    found = evaluate(recipe(reward, benchmark={NAME: {"data": str(file)}}), tmp_path / "run")
    one = _of(found, "adapter")["accuracy", "all"]
    assert (one["n"], one["missing"]) == (1, 1)
    assert [kept["missing"] for kept in records(tmp_path / "run", NAME)] == [False, True]


def test_what_it_cannot_do_is_said(reward: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"asks a reward model\. Give a run of .* as --adapter"):
        evaluate(recipe(None), tmp_path / "run")
    with pytest.raises(UsageError, match="no other benchmark"):
        evaluate(EvaluateRecipe(MODEL, (NAME, "pope"), adapter=str(reward)), tmp_path / "run")
    with pytest.raises(UsageError, match=r"cannot be hidden\. Use --blind=no-image"):
        evaluate(recipe(reward, blind="masked"), tmp_path / "run")
    with pytest.raises(ModelError, match="is no reward model: it has no value head"):
        evaluate(recipe(adapter), tmp_path / "run")
    with pytest.raises(UsageError, match=r"asks a reward model: not while training.*held_out"):
        PeriodicEvaluator((NAME,), recipe(None).benchmark)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"chosen": {"a": 3}}, "malformed"),
        ({"rejected": []}, "empty-answer"),
        ({"rejected": None}, "no-rejected"),
        ({"rejected": "a "}, "equal-answers"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "empty-prompt"),
        ({"images": []}, "no-image"),
        ({"chosen": ["c", "d"]}, "malformed"),
    ],
)
def test_rows_that_are_no_pairs_are_left_out(
    cells: dict[str, Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"images": ["a.png"], "prompt": "What?", "chosen": "a", "rejected": "b"}
    task = BENCHMARK.task(BENCHMARK.settings())
    file = write_rows(tmp_path / "train.jsonl", [{**row, **cells}, row])
    [sample] = task.samples(open_table(str(file)), None)
    assert sample.id == "1"
    assert f"are left out ({reason}: 1). First: {file} (train), row 0 (counted from 0): " in caplog.text
    with pytest.raises(InputError, match=rf"No row of .* is a pair to ask about \({reason}: 1\)"):
        task.samples(open_table(str(file)), 1)


def test_pictures_are_read_wherever_training_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    code = base64.b64encode(png("red")).decode()
    part = {"type": "image", "image": "a.png"}
    turns = [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]
    answer = {"role": "assistant", "content": "a"}
    rows: list[dict[str, Any]] = [
        {"prompt": turns, "chosen": [answer], "rejected": "b"},
        {"messages": [*turns, answer], "rejected_response": "b"},
        {"image": code, "prompt": "What?", "chosen": "a", "rejected": "b"},
        {"image_path": r"C:\pictures\a.PNG", "question": "What?", "chosen": "a", "rejected": "b"},
    ]
    file = write_rows(tmp_path / "train.jsonl", rows)
    samples = BENCHMARK.task(BENCHMARK.settings()).samples(open_table(str(file)), None)
    assert [sample.image.content for sample in samples if sample.image] == [png("red")] * 4
    assert {sample.messages for sample in samples} == {(Message("user", "What?"),)}
    assert {(sample.reference["chosen"], sample.reference["rejected"]) for sample in samples} == {("a", "b")}


def test_the_code_of_the_card_gives_values(reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (96, 96), "red").save("photo.jpg")
    said: dict[str, Any] = {}
    exec(load_rewards(MODEL, str(reward)), said)
    assert len(set(said["values"])) == 2
