"""``mmpref train`` from outside: what it prints where, how it exits, what it builds and what it pushes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mmpref.api.options import train_recipe
from mmpref.api.planned import planned_train
from tests import bare, forked
from tests.align.conftest import preferences
from tests.hub_fixtures import HubAccount

__all__ = ["preferences"]  # the fixture

RECIPE = """
build-dataset:
  model: pkg:mmpref.testbed/model
  source: testbed
  limit: 12
  builder:
    similarity_model: pkg:mmpref.testbed/embedder
    iterations: 2
    max_tail_tokens: 16
train:
  model: pkg:mmpref.testbed/model
  lora: {r: 4, alpha: 8}
  projector_learning_rate: 1.0e-4
  trainer: {learning_rate: 1.0e-3, per_device_train_batch_size: 4, max_steps: 3}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def mmpref(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return forked.mmpref(arguments, folder=cwd) if env is None else bare.mmpref(arguments, env, cwd)


@pytest.mark.long
def test_without_a_dataset_it_builds_the_recipes_own_first(recipe: Path, tmp_path: Path) -> None:
    done = mmpref("train", "--recipe", recipe, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)  # One JSON object and nothing else.
    built = Path(result["datasets"][0]["id"])
    assert built.parent == Path("runs")
    assert built.name.startswith("build-dataset-bdhs-")
    assert json.loads((tmp_path / built / "run.json").read_text())["counts"]["rows"] == result["counts"]["rows"]
    assert result["path"] == f"runs/train-dpo-{result['recipe_hash'][:8]}"
    assert (tmp_path / result["path"] / "README.md").is_file()
    planned = planned_train(train_recipe(recipe=str(recipe)), str(recipe))
    assert (str(planned.path), planned.recipe_hash) == (result["path"], result["recipe_hash"])
    assert "Training 21 LoRA layers in the language model (0 elsewhere) and 1 projector in full." in done.stderr
    line = "Global batch 4 = 1 process x 4 rows x 1 accumulated; 3 steps, none of them warm-up; learning rate 0.001"
    assert f"{line}, projector 0.0001." in done.stderr
    assert "\r" not in done.stderr  # No progress bar where stderr is no terminal.
    warnings = [line for line in done.stderr.splitlines() if "Warning" in line]
    expected = ("shorter than chosen ones", "less than one stays visible")
    assert all(any(words in line for words in expected) for line in warnings), warnings
    again = mmpref("train", "--recipe", recipe, cwd=tmp_path)
    assert again.returncode == 0
    assert "is complete already" in again.stderr
    assert "LoRA layers" in again.stdout


@pytest.mark.long
def test_training_then_pushing(
    preferences: Path, recipe: Path, tmp_path: Path, hub: HubAccount, hub_env: dict[str, str]
) -> None:
    """Without an id: the user's, and the run's folder gives the name."""
    from huggingface_hub import HfApi

    arguments = (
        "train",
        "--recipe",
        recipe,
        "--dataset",
        preferences,
        "--output",
        tmp_path / "run",
        "--push",
        "--base-hub-id",
        "someone/tiny-vlm",
        "--private",
        "--json",
    )
    done = mmpref(*arguments, cwd=tmp_path, env=hub_env)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "private model repository" in line]
    assert "which will be made" in told[0]
    assert done.stderr.index(told[0]) < done.stderr.index("LoRA layers"), "it is said before the work"
    assert json.loads(done.stdout)["visibility"] == "private"
    published = json.loads(done.stdout)["published"]
    repo = f"{hub.name}/run"
    assert published.endswith(f"/{repo}")
    api = HfApi(endpoint=hub_env["HF_ENDPOINT"], token=hub_env.get("HF_TOKEN"))
    files = set(api.list_repo_files(repo))
    assert {
        "adapter_model.safetensors",
        "adapter_config.json",
        "processor_config.json",
        "README.md",
        "run.json",
    } <= files
    config = json.loads(Path(api.hf_hub_download(repo, "adapter_config.json", local_dir=tmp_path / "got")).read_text())
    assert config["base_model_name_or_path"] == "someone/tiny-vlm"
    assert not any(name.startswith(".mmpref") for name in files)


def test_a_push_that_cannot_work_is_said_before_training(
    preferences: Path, recipe: Path, tmp_path: Path, hub_env: dict[str, str]
) -> None:
    env = {key: value for key, value in hub_env.items() if key != "HF_TOKEN"}
    done = mmpref(
        "train",
        "--recipe",
        recipe,
        "--dataset",
        preferences,
        "--output",
        tmp_path / "run",
        "--push",
        cwd=tmp_path,
        env=env,
    )
    assert done.returncode == 1
    assert done.stderr.count("Error:") == 1
    assert "no Hugging Face token" in done.stderr
    assert not (tmp_path / "run").exists()


def test_data_whose_licence_may_forbid_a_push_are_refused_before_training(
    preferences: Path, recipe: Path, tmp_path: Path, hub_env: dict[str, str]
) -> None:
    data = tmp_path / "closed"
    shutil.copytree(preferences, data)
    (data / "README.md").write_text("---\nlicense: cc-by-nd-4.0\n---\n")
    words = ["train", "--recipe", recipe, "--dataset", data, "--output", tmp_path / "run", "--push"]
    done = mmpref(*words, cwd=tmp_path, env=hub_env)
    assert done.returncode == 1, done.stderr
    assert "may be forbidden by the licence" in done.stderr
    assert "cc-by-nd-4.0" in done.stderr
    assert not (tmp_path / "run").exists()
    first = tmp_path / "first"
    first.mkdir()
    (first / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (first / "adapter_model.safetensors").write_bytes(b"weights")
    earlier = {"id": "me/earlier", "split": "train", "revision": None, "licence": "cc-by-nc-nd-4.0"}
    (first / "run.json").write_text(json.dumps({"command": "train", "datasets": [earlier]}))
    words = [*words[:4], preferences, *words[5:], "--adapter", first]
    done = mmpref(*words, cwd=tmp_path, env=hub_env)
    assert done.returncode == 1, done.stderr
    assert "may be forbidden by the licence of me/earlier: cc-by-nc-nd-4.0" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--method", "dop"], 2, "There is no training method 'dop'. Did you mean 'dpo'?"),
        (["--annotator", "me/judge"], 2, "asks no annotator"),
        (["--set", "trainer.learnin_rate=1"], 2, "Did you mean 'trainer.learning_rate'?"),
        (["--set", "lora.rank=4"], 2, "no setting 'rank'"),
        (["--dataset", "nowhere.parquet"], 1, "There is no file or folder nowhere.parquet."),
        (["--model", "/nowhere"], 1, "Cannot load the model /nowhere"),
    ],
)
def test_mistakes_end_in_one_line(
    preferences: Path,
    recipe: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmpref.cli.main import main

    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    default = [] if "--dataset" in arguments else ["--dataset", str(preferences)]
    try:
        with pytest.raises(SystemExit) as ended:
            main(["train", "--recipe", str(recipe), *default, *arguments])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    said = capsys.readouterr()
    assert ended.value.code == code
    assert [line for line in said.err.splitlines() if line.startswith("Error:") and message in line]
    assert said.out == ""


def test_a_model_without_data_needs_data(tmp_path: Path) -> None:
    done = mmpref("train", "--model", "me/model", cwd=tmp_path)
    assert done.returncode == 2
    assert "Name preference data with --dataset." in done.stderr


@pytest.mark.long
def test_ctrl_c_keeps_what_was_done(preferences: Path, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    endless = ["--set", "trainer.max_steps=100000", "--set", "trainer.save_steps=50000"]
    process = forked.start(["train", "--recipe", recipe, "--dataset", preferences, "--output", run, *endless])
    deadline = time.monotonic() + 300
    while not (run / "log.jsonl").is_file() or len((run / "log.jsonl").read_text().splitlines()) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    done = process.end()
    assert done.returncode == 130
    assert done.stderr.strip().splitlines()[-1].startswith("Error: Interrupted. Finished work is kept")
    assert len(list((run / ".mmpref" / "training" / "checkpoints").glob("checkpoint-*/complete.json"))) == 1
    assert not (run / "run.json").exists()
