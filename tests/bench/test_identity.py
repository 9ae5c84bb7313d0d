"""A run's answers belong to one adapter, one base and one set of rows, from its beginning on and after its end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import HubError, RunError
from mmpref.registry import resolve_path
from tests import bare
from tests.hub_fixtures import HubAccount

from .conftest import MODEL, MakeAdapter, png, pope_row, write_rows

SYNONYMS = Path(resolve_path("pkg:mmpref.testbed/synonyms.txt"))


def _rows() -> list[dict[str, Any]]:
    return [pope_row(i, f"{i}.png", answer="yes" if i % 2 else "no") for i in range(4)]


@pytest.fixture
def world(adapter: Path, tmp_path: Path) -> Path:
    """A base, an adapter and benchmark rows in folders of their own, which a test can change."""
    shutil.copytree(resolve_path(MODEL), tmp_path / "model")
    shutil.copytree(adapter, tmp_path / "adapter")
    write_rows(tmp_path / "data/test.jsonl", _rows())
    for i in range(4):
        (tmp_path / f"data/{i}.png").write_bytes(png(["red", "blue", "green", "white"][i]))
    return tmp_path


def _recipe(world: Path) -> EvaluateRecipe:
    pope = {"data": str(world / "data/test.jsonl"), "max_new_tokens": 4}
    return EvaluateRecipe(str(world / "model"), ("pope",), adapter=str(world / "adapter"), benchmark={"pope": pope})


def _other_weights(world: Path, make_adapter: MakeAdapter) -> None:
    make_adapter(world / "adapter", seed=1)


def _other_scale(world: Path, _: MakeAdapter) -> None:
    file = world / "adapter/adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lora_alpha": 1}))


def _other_base(world: Path, _: MakeAdapter) -> None:
    file = world / "model/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _other_order(world: Path, _: MakeAdapter) -> None:
    write_rows(world / "data/test.jsonl", _rows()[::-1])


def _other_image(world: Path, _: MakeAdapter) -> None:
    (world / "data/2.png").write_bytes(png("black"))


CHANGES = [
    (_other_weights, "adapter"),
    (_other_scale, "adapter"),
    (_other_base, "model"),
    (_other_order, "data of pope"),
    (_other_image, "data of pope"),
]


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
@pytest.mark.parametrize(("change", "what"), CHANGES)
def test_what_has_changed_is_told_and_refused(
    world: Path, make_adapter: MakeAdapter, finished: bool, change: Callable[[Path, MakeAdapter], None], what: str
) -> None:
    run = world / "run"
    evaluate(_recipe(world), run)
    if not finished:  # as after a kill between the two models
        (run / "run.json").unlink()
        (run / ".mmpref/answers-adapter-pope.jsonl").unlink()
    assert evaluate(_recipe(world), run)["counts"] == {"pope": 4}
    if not finished:
        (run / "run.json").unlink()
    before = (run / "results.json").read_bytes()
    change(world, make_adapter)
    with pytest.raises(
        RunError, match=rf"^The {what} .*has changed since .*Choose another --output, or delete .*"
    ) as told:
        evaluate(_recipe(world), run)
    assert "\n" not in str(told.value)
    assert (run / "results.json").read_bytes() == before
    assert (run / "run.json").exists() is finished


def test_another_table_of_words_is_another_score(world: Path) -> None:
    shutil.copy(SYNONYMS, world / "words.txt")
    chair = {"data": "testbed-chair", "synonyms": str(world / "words.txt"), "max_new_tokens": 4}
    recipe = EvaluateRecipe(MODEL, ("chair",), benchmark={"chair": chair}, limit=2)
    evaluate(recipe, world / "run")
    (world / "words.txt").write_text(SYNONYMS.read_text() + "quark\n")
    with pytest.raises(RunError, match=r"The data of chair has changed"):
        evaluate(recipe, world / "run")


def test_both_files_say_what_was_evaluated_on_what(world: Path) -> None:
    manifest = evaluate(_recipe(world), world / "run")
    run, results = (json.loads((world / "run" / name).read_text()) for name in ("run.json", "results.json"))
    weights = hashlib.sha256((world / "adapter/adapter_model.safetensors").read_bytes()).hexdigest()
    for content in (run, results, manifest):
        assert content["adapter"]["weights"] == weights
        assert content["adapter"]["id"] == str(world / "adapter")
    assert run["seeds"] == {"bootstrap": 0}
    assert run["data"]["pope"]["fingerprint"] == results["results"][0]["data"]["fingerprint"]
    assert run["data"]["pope"]["fingerprint"].startswith("sha256:")
    assert run["model"]["files"].startswith("sha256:")
    base = hashlib.sha256((world / "model/model.safetensors").read_bytes()).hexdigest()
    assert run["model_weights"] == {"model.safetensors": base}, "by which publishing knows a whole model"


def test_a_finished_run_is_shown_where_the_hub_cannot_be_asked(
    world: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = evaluate(_recipe(world), world / "run")

    def down(*_: Any, **__: Any) -> None:
        raise HubError("The Hub is away.")

    monkeypatch.setattr("mmpref.bench.plan.open_table", down)
    again = evaluate(_recipe(world), world / "run")
    assert again["results"] == first["results"]
    assert "could not be checked" in caplog.text
    (world / "run/run.json").unlink()
    with pytest.raises(HubError, match="away"):
        evaluate(_recipe(world), world / "run")


def test_a_folder_that_is_gone_is_no_name_on_the_hub(
    world: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(world)
    for name in ("model", "adapter"):
        (world / name).rename(world / "data" / name)
    recipe = dataclasses.replace(_recipe(world), model="data/model", adapter="data/adapter")
    first = evaluate(recipe, world / "run")
    for name in ("model", "adapter"):
        (world / "data" / name).rename(world / name)
    asked = []

    def somebody_elses(name: str, *_: Any) -> str:
        asked.append(name)
        return "0" * 40

    monkeypatch.setattr("mmpref.origins.revisions.commit_at", somebody_elses)
    assert evaluate(recipe, world / "run")["results"] == first["results"]
    assert not asked
    for name in ("model", "adapter"):
        assert f"whether the {name} data/{name} is still what" in caplog.text


JUDGED_BY_ANOTHER = """
import sys
from pathlib import Path
from huggingface_hub import HfApi
from mmpref.bench.identity import pin_identity
from mmpref.bench.judging import open_judge
from mmpref.errors import ModelError
from mmpref.judges.chat import ChatSettings
from mmpref.registry import resolve_path
from mmpref.run.directory import open_run
from mmpref.types import ModelRef

api, judge, folder = HfApi(), sys.argv[1], Path(sys.argv[2])
api.create_repo(judge)

def begin():
    run = open_run(folder / "run", "evaluate", {})
    return pin_identity(run, ModelRef("pkg:mmpref.testbed/model"), {}, judge)["judge"]

first = api.upload_folder(repo_id=judge, folder_path=resolve_path("pkg:mmpref.testbed/model")).oid
assert begin() == begin() == first
api.delete_file("config.json", judge)
assert begin() == first
ask = lambda commit: open_judge(("mmhal",), judge, None, 1, ChatSettings(), commit)
ask(first).ready()
try:
    ask(None).ready()
except ModelError:
    print(ask(first).name)
"""


def test_a_judge_of_the_hub_is_asked_at_the_commit_that_the_run_began_with(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    env = hub_env | {"HF_HUB_ETAG_TIMEOUT": "60"}
    done = bare.python(JUDGED_BY_ANOTHER, f"{hub.name}/judge", str(tmp_path), environment=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.name}/judge\n"
