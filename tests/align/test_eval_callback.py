"""Benchmarks while training: the log, the best adapter, the early stop, and all of it after a kill."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from mmpref.align.recipe import LoraSettings, TrainRecipe, WatchSettings
from mmpref.align.summary import summary_rows
from mmpref.align.train import train
from mmpref.api.results import TrainedAdapter
from mmpref.cli.train import command
from mmpref.errors import RunError, UsageError
from mmpref.hub.cards.model import write_model_card
from mmpref.run.manifest import read_manifest

from .conftest import MODEL
from .cut import Cut, cutting


class Scores:
    """Gives the values in turn, and looks whether the policy can write."""

    def __init__(self, *values: float, higher: bool | None = True) -> None:
        self.values, self.higher, self.asked = list(values), higher, 0
        self.weights: list[float] = []

    def __call__(self, policy: Any) -> dict[str, tuple[float, bool | None]]:
        assert not policy.model.training
        trained = [value for name, value in policy.base_model.named_parameters() if "lora_B" in name]
        self.weights.append(float(sum(value.abs().sum() for value in trained)))
        self.asked += 1
        return {"bench/score": (self.values[self.asked - 1], self.higher), "bench/other": (0.0, None)}


def recipe(data: Path, steps: int = 6, **watch: Any) -> TrainRecipe:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": steps,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "save_steps": 1,
    }
    settings = WatchSettings(benchmarks=("bench",), **{"every": 2, "best": "bench/score", **watch})
    return TrainRecipe(MODEL, (str(data),), lora=LoraSettings(4, 8), trainer=trainer, watch=settings)


def lora_b(run: Path) -> float:
    weights = load_file(run / "adapter_model.safetensors")
    return float(sum(value.abs().sum() for name, value in weights.items() if "lora_B" in name))


@pytest.mark.parametrize(
    ("values", "higher", "best"),
    [((0.1, 0.3, 0.2), True, 1), ((0.1, 0.3, 0.2), False, 0), ((0.2, 0.2, 0.2), True, 0), ((1, 2, 3), True, 2)],
)
def test_the_best_adapter_is_kept(
    values: tuple[float, ...], higher: bool, best: int, preferences: Path, tmp_path: Path
) -> None:
    scores = Scores(0.15, *values, higher=higher)
    manifest = train(recipe(preferences, 3, every=1), tmp_path / "run", evaluate=scores)
    assert [row["step"] for row in manifest["evaluations"]] == [0, 1, 2, 3]
    kept = {"step": best + 1, "metric": "bench/score", "value": values[best], "base": 0.15}
    assert manifest["best"] == kept
    assert manifest["final_over"]["last"] == kept["step"]
    assert lora_b(tmp_path / "run") == pytest.approx(scores.weights[best + 1], rel=1e-6)
    assert scores.weights[0] == 0  # step 0 is the base: an adapter that was not trained yet
    assert not list((tmp_path / "run/.mmpref").glob("best*"))


def test_without_a_best_the_last_is_kept_and_the_last_step_is_evaluated(preferences: Path, tmp_path: Path) -> None:
    scores = Scores(0.5, 0.9, 0.1)
    manifest = train(recipe(preferences, 3, best=None), tmp_path / "run", evaluate=scores)
    assert [row["step"] for row in manifest["evaluations"]] == [0, 2, 3]
    assert manifest["best"] is None
    assert manifest["final_over"]["last"] == 3
    assert lora_b(tmp_path / "run") == pytest.approx(scores.weights[-1], rel=1e-6)


def test_training_stops_when_nothing_gets_better(
    preferences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A base that is better than all of them is no step that could be kept, and stops nothing."""
    scores = Scores(0.9, 0.5, 0.6, 0.4, 0.5)
    with caplog.at_level(logging.WARNING, "mmpref"):
        manifest = train(recipe(preferences, 12, patience=2), tmp_path / "run", evaluate=scores)
    assert manifest["steps"] == 8
    assert manifest["best"]["step"] == 4
    assert "no step was better than the base by bench/score" in caplog.text
    table = dict(summary_rows(manifest))
    assert table["steps"] == "8; kept is step 4 (bench/score 0.600, base 0.900); no step was better than the base"
    assert table["means over"] == "4 pairs, steps 3 to 4"


def test_where_training_stops_the_log_ends(preferences: Path, tmp_path: Path) -> None:
    asked = recipe(preferences, 12, patience=2)
    asked = replace(asked, trainer={**asked.trainer, "logging_steps": 10})
    manifest = train(asked, tmp_path / "run", evaluate=Scores(0.9, 0.5, 0.6, 0.4, 0.5))
    [row] = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert row["step"] == manifest["steps"] == 8
    assert manifest["final"]["loss"] == row["loss"]


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "best"),
    [((0.5, 0.3, NAN, 0.4, NAN), 3), ((NAN, NAN, 0.2, NAN, 0.1), 2), ((0.5, NAN, NAN, NAN, NAN), None)],
)
def test_a_metric_over_nothing_is_no_value(
    values: tuple[float, ...], best: int | None, preferences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As CHAIR's of answers that name no object: such a step is never the best, and ends nothing."""
    scores = Scores(*values)
    with caplog.at_level(logging.WARNING, "mmpref"):
        manifest = train(
            recipe(preferences, 4, every=1), tmp_path / "run", evaluate=scores, write_card=write_model_card
        )
    assert manifest["steps"] == 4
    assert [row.get("bench/score", NAN) for row in manifest["evaluations"]] == pytest.approx(values, nan_ok=True)
    assert (manifest["best"] or {"step": None})["step"] == best
    assert lora_b(tmp_path / "run") == pytest.approx(scores.weights[best or 4], rel=1e-6)
    assert ("no step has a value of bench/score: the last step is kept" in caplog.text) == (best is None)
    assert "bench/score" in (tmp_path / "run/README.md").read_text()


def test_the_weights_of_a_step_that_was_lost_are_not_kept_as_those_of_the_best(
    preferences: Path, tmp_path: Path
) -> None:
    """A step after the last checkpoint was the best, and is not so when it is made anew."""
    asked, run = recipe(preferences, 4, every=1), tmp_path / "run"
    asked = replace(asked, trainer={**asked.trainer, "save_steps": 2})
    first = Scores(0.1, 0.5, 0.4, 0.9)
    with pytest.raises(Cut):
        train(asked, run, evaluate=first, on_progress=cutting(3))
    manifest = train(asked, run, evaluate=Scores(0.45, 0.4))
    assert manifest["best"]["step"] == 1
    assert lora_b(run) == pytest.approx(first.weights[1], rel=1e-6)


def test_best_weights_that_are_gone(preferences: Path, tmp_path: Path) -> None:
    asked, run = recipe(preferences, 4, every=1), tmp_path / "run"
    with pytest.raises(Cut):
        train(asked, run, evaluate=Scores(0.1, 0.5, 0.4, 0.3), on_progress=cutting(3))
    [kept] = run.rglob("best*")
    kept.rename(kept.with_name("best.safetensors"))
    with pytest.raises(RunError, match=r"weights of step 1, where bench/score was best, are not in"):
        train(asked, run, evaluate=Scores(0.4, 0.4))


STOPPED = (0.2, 0.5, 0.6, 0.4, 0.5)


@pytest.fixture(scope="module")
def stopped(preferences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run ``whole``, which was stopped by its patience."""
    folder = tmp_path_factory.mktemp("stopped")
    train(recipe(preferences, 12, patience=2), folder / "whole", evaluate=Scores(*STOPPED))
    return folder


@pytest.mark.long
@pytest.mark.parametrize("at", [3, 5, 8])
def test_a_killed_training_ends_the_same(at: int, stopped: Path, preferences: Path) -> None:
    asked, cut = recipe(preferences, 12, patience=2), stopped / f"cut-{at}"
    with pytest.raises(Cut):
        train(asked, cut, evaluate=Scores(*STOPPED), on_progress=cutting(at))
    known = len((cut / "evaluations.jsonl").read_text().splitlines())
    again = train(asked, cut, evaluate=Scores(*STOPPED[min(known, 1 + (at - 1) // 2) :]))
    whole = read_manifest(stopped / "whole")
    one, other = ((run / "adapter_model.safetensors").read_bytes() for run in (stopped / "whole", cut))
    assert one == other
    assert again["evaluations"] == whole["evaluations"]
    assert again["best"] == whole["best"]


@pytest.mark.parametrize(
    ("watch", "message"),
    [({"best": "bench/else"}, "has the metric"), ({"best": "bench/other"}, "Neither more nor less")],
)
def test_a_best_that_is_none(watch: dict[str, Any], message: str, preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        train(recipe(preferences, **watch), tmp_path / "run", evaluate=Scores(0.5, 0.6, 0.7))


def test_settings_that_make_no_sense(preferences: Path, tmp_path: Path) -> None:
    for wrong in ({"every": 0}, {"best": "a/b"}, {"patience": 1}):
        with pytest.raises(UsageError):
            WatchSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"needs watch\.best") as caught:
        train(recipe(preferences, best=None, patience=1), tmp_path / "run", evaluate=Scores(0.5))
    assert "--best=bench/" in caught.value.hint
    with pytest.raises(UsageError, match="who evaluates"):
        train(recipe(preferences), tmp_path / "run")


def test_real_benchmarks_from_the_command_line(preferences: Path, tmp_path: Path) -> None:
    words = [
        "--dataset",
        preferences,
        "--output",
        tmp_path / "run",
        "--eval-benchmark",
        "chair",
        "--eval-benchmark",
        "pope",
        "--eval-limit",
        8,
        "--eval-split",
        "dev",
        "--eval-every",
        1,
        "--best",
        "chair/recall",
        "--set",
        "trainer.max_steps=2",
        "--json",
    ]
    done = CliRunner().invoke(command, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    manifest = json.loads(done.stdout)
    base, first, second = manifest["evaluations"]
    logged = (tmp_path / "run/evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in logged] == [base, first, second]
    assert base["step"] == 0
    assert {"chair/chair_i", "chair/recall", "pope/accuracy"} <= first.keys()
    assert manifest["best"]["base"] == base["chair/recall"]
    watched = manifest["watched"]["chair"]
    assert (watched["data"]["split"], watched["questions"], watched["changed"]["limit"]) == ("dev", 8, 8)
    assert watched["samples"].startswith("sha256:")
    assert len(watched["rows"]) == 8 * 8, "eight characters a question"
    card = (tmp_path / "run/README.md").read_text()
    assert f"**Kept is the adapter of step {manifest['best']['step']} of 2**" in card
    assert f"(split <code>dev</code>, 8 questions, <code>{watched['data']['fingerprint']}</code>)" in card
    assert "| while training | base (step 0) |" in card
    pairs = manifest["final_over"]["pairs"]
    assert f"Up to the kept step {manifest['best']['step']} (a mean over {pairs} pairs, step" in card
    assert manifest["best"]["value"] == max(first["chair/recall"], second["chair/recall"])
    assert manifest["recipe"]["watch"]["benchmark"]["pope"]["data"] == "testbed-pope"


def test_of_weights_in_full_a_model_is_kept(
    preferences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = replace(recipe(preferences), tuning="full")
    with caplog.at_level(logging.INFO, "mmpref"):
        manifest = train(full, tmp_path / "run", evaluate=Scores(0.5, 0.4, 0.7, 0.6), write_card=write_model_card)
    assert "Keeping the model of step 4 of 6" in caplog.text
    shown = TrainedAdapter(tmp_path / "run", manifest)
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "**Kept is the model of step 4 of 6**" in card
    for text in (caplog.text, repr(shown), card.partition("```bash")[0], card.partition("Training data")[2]):
        assert "adapter" not in text
    assert repr(shown).startswith("model\n")
