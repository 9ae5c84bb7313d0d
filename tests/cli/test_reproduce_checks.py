"""``mmpref reproduce my.yaml`` tells what is wrong with any step before the first one begins."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from mmpref.cli.main import program
from mmpref.cli.reproduce import _print
from mmpref.errors import MmprefError, StaleRunError
from mmpref.log import each_once, warn
from mmpref.recipes.resolve import merge
from tests.hub.runs import evaluation_run

pytestmark = pytest.mark.usefixtures("no_hub")
MODEL = "pkg:mmpref.testbed/model"
OTHER = "pkg:mmpref.testbed/embedder"
"""Not the model, and with a configuration."""
SYNONYMS = "pkg:mmpref.testbed/synonyms.txt"
RECIPE: dict[str, Any] = {
    "build-dataset": {
        "model": MODEL,
        "source": "testbed",
        "limit": 8,
        "builder": {"similarity_model": "pkg:mmpref.testbed/embedder"},
    },
    "train": {"model": MODEL, "trainer": {"max_steps": 1}},
    "evaluate": {
        "model": MODEL,
        "benchmarks": ["chair"],
        "limit": 4,
        "benchmark": {"chair": {"data": "testbed-chair", "split": "test", "synonyms": SYNONYMS}},
    },
}


def refused(changes: dict[str, Any], folder: Path) -> str:
    """What is said of a recipe with these changes, when nothing was begun."""
    file, output = folder / "my.yaml", folder / "run"
    file.write_text(yaml.safe_dump(merge(copy.deepcopy(RECIPE), changes)), encoding="utf-8")
    result = CliRunner().invoke(program, ["reproduce", str(file), "--output", str(output)])
    assert isinstance(result.exception, MmprefError), (result.output, result.exception)
    assert "..." not in result.output
    assert not output.exists()
    return str(result.exception)


def watch(**settings: Any) -> dict[str, Any]:
    return {"train": {"watch": {"benchmarks": ["chair"], **settings}}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"biuld-dataset": {}}, "Did you mean 'build-dataset'"),
        ({"evaluate": {"benchmrks": ["pope"]}}, "Did you mean 'benchmarks'"),
        ({"train": {"learning_rate": 1e-5}}, "train: .*Did you mean 'trainer.learning_rate'"),
        ({"build-dataset": {"builder": {"similarity_model": "no/model"}}}, "Cannot load the similarity model no/model"),
        ({"train": {"method": "dop"}}, "Did you mean 'dpo'"),
        ({"train": {"method": "online-dpo"}}, "needs an annotator. Name one with `annotator`"),
        ({"train": {"method": "online-dpo", "annotator": "./none/such"}}, "there is no such folder"),
        ({"train": {"method": "online-dpo", "annotator": "os:none"}}, "There is no function os:none"),
        ({"train": {"split": "tran"}}, "will have no split 'tran'. Did you mean 'train'"),
        ({"train": {"model": "./no/model"}}, "train: Cannot load the model ./no/model"),
        ({"train": {"dataset": ["mine.jsonl"]}}, "train: dataset is .*mine.jsonl.*build-dataset makes.*method: mix"),
        ({"evaluate": {"adapter": "runs/old"}}, "evaluate: adapter is 'runs/old', and here it is what train makes"),
        ({"evaluate": {"model": OTHER}}, "train is of pkg:.*, and evaluate of .*does not belong to"),
        ({"evaluate": {"revision": "v2"}}, "evaluate: .* is on this machine, so `revision` has no use"),
        ({"train": {"image_root": ["nowhere"]}}, "image root nowhere.*Check `image_root`"),
        ({"train": {"trainer": {"lr_scheduler_type": "cosin"}}}, "TRL refuses"),
        ({"train": {"trainer": {"report_to": "tensorbord"}}}, "train: There is no tracker 'tensorbord'"),
        ({"train": {"trainer": {"pad_token": "<nope>"}}}, "pad_token is '<nope>'"),
        ({"train": {"lora": {"dropout": 0.1}, "trainer": {"disable_dropout": True}}}, "contradict"),
        ({"train": {"loss": {"beta": 0}}}, "must be above 0"),
        ({"train": {"method": "reward-model", "loss": {"held_out": ["testbed-pairs:tst"]}}}, "no split 'tst'"),
        (watch(best="pope/accuracy"), "'pope' is not among the benchmarks that are watched"),
        (watch(best="chair/chair"), "No benchmark here has the metric 'chair/chair'. Did you mean 'chair/chair_"),
        (watch(split="dve"), "no split 'dve'. Did you mean 'dev'"),
        (watch(benchmarks=["mmhal"]), "mmhal is scored by a judge|there is no such"),
        ({"evaluate": {"benchmarks": ["chiar"]}}, "Did you mean 'chair'"),
        ({"evaluate": {"model": "./no/model"}}, "evaluate: Cannot load the model"),
        ({"evaluate": {"benchmark": {"chair": {"split": "tst"}}}}, "no split 'tst'. Did you mean 'test'"),
        ({"evaluate": {"benchmark": {"chair": {"data": "mine.jsonl"}}}}, "There is no file or folder mine.jsonl"),
        ({"evaluate": {"benchmark": {"chair": {"synonyms": "words.txt"}}}}, "chair.synonyms is 'words.txt'"),
        ({"evaluate": {"benchmark": {"chair": {"images": "photos"}}}}, "chair.images is 'photos'"),
        (
            {"evaluate": {"benchmark": {"chair": {"data": "testbed-pope"}}}},
            "row 0.*'objects'.*objects=COLUMN",
        ),
        ({"evaluate": {"image_root": ["nowhere"]}}, "evaluate: .*image root nowhere"),
        ({"evaluate": {"columns": {"id": "n"}, "benchmark": {"chair": {"data": None}}}}, "none is on such data"),
        ({"evaluate": {"judge": "testbed-orcale"}}, "`judge` has no use"),
        ({"evaluate": {"thinking": ["<a>"]}}, "thinking"),
        (
            {"evaluate": {"blind": "masked", "model": "https://a.b/v1#c"}},
            "one is behind an endpoint",
        ),
    ],
)
def test_nothing_is_begun(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    said = refused(changes, tmp_path)
    assert re.search(says, said), said


def test_columns_that_the_rows_lack_are_told_at_once(tmp_path: Path) -> None:
    rows = tmp_path / "mine.csv"
    rows.write_text("Bilddatei;Beschreibung\na.png;A cup.\n", encoding="utf-8")
    columns = {"image": "Bild", "answer": "Beschreibung"}
    said = refused({"build-dataset": {"source": str(rows), "columns": columns}}, tmp_path)
    assert "build-dataset: " in said
    assert "has no column 'Bild'" in said
    assert "Did you mean 'Bilddatei'" in said
    said = refused({"build-dataset": {"source": str(rows), "columns": {"imgae": "Bilddatei"}}}, tmp_path)
    assert "columns names 'imgae', which is no part of a row. Did you mean 'image'" in said


def photo_rows(folder: Path, *there: str) -> dict[str, Any]:
    """Rows about three photos of which these are there."""
    (folder / "photos").mkdir()
    for name in there:
        Image.new("RGB", (4, 4)).save(folder / "photos" / name)
    rows = folder / "mine.csv"
    rows.write_text("image,caption\na.png,A cup.\nb.png,A cat.\nc.png,A dog.\n", encoding="utf-8")
    return {"source": str(rows), "limit": 3, "image_root": [str(folder / "photos")]}


def test_a_folder_without_the_photos_is_told_at_once(tmp_path: Path) -> None:
    said = refused({"build-dataset": photo_rows(tmp_path)}, tmp_path)
    assert f"build-dataset: None of the 3 images of {tmp_path / 'mine.csv'} (train) is found under" in said
    assert (
        "First: row 0 (counted from 0): 'a.png'. Name the folder that paths are relative to with `image_root`." in said
    )


def test_photos_that_are_missing_are_counted_before_the_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "my.yaml"
    recipe = merge(copy.deepcopy(RECIPE), {"build-dataset": photo_rows(tmp_path, "a.png")})
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    told = (
        r"of 3 images of .*mine\.csv \(train\), 2 are not found .* "
        r"First: row 1 \(counted from 0\): 'b\.png'\. .* with `image_root`"
    )
    result = CliRunner().invoke(program, ["reproduce", str(file), "--output", str(tmp_path / "run"), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert re.search(told, caplog.text), caplog.text
    caplog.clear()
    rounds = ["iterate", str(file), "--metric", "chair/chair_i", "--limit", "1", "--dry-run"]
    result = CliRunner().invoke(program, [*rounds, "--output", str(tmp_path / "rounds")])
    assert result.exit_code == 0, result.output
    assert re.search(told, caplog.text), "each of the three rounds has a row"


def test_photos_that_are_missing_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "my.yaml"
    recipe = merge(copy.deepcopy(RECIPE), {"build-dataset": photo_rows(tmp_path, "a.png", "b.png")})
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    words = ["reproduce", str(file), "--output", str(tmp_path / "run"), "--only", "build-dataset"]
    assert CliRunner().invoke(program, words).exit_code == 0
    assert caplog.text.count("of 3 images of") == 1, "by the check, and not by the build again"


def test_a_finished_step_whose_source_has_changed_is_told_before_any_other(tmp_path: Path) -> None:
    photos = photo_rows(tmp_path, "a.png", "b.png", "c.png")
    file, output = tmp_path / "my.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(merge(copy.deepcopy(RECIPE), {"build-dataset": photos})), encoding="utf-8")
    words = ["reproduce", str(file), "--output", str(output)]
    first = CliRunner().invoke(program, [*words, "--only", "build-dataset"])
    assert first.exit_code == 0, first.output
    again = CliRunner().invoke(program, [*words, "--dry-run"])
    assert again.exit_code == 0, again.output
    table = Path(photos["source"])
    table.write_text(table.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(program, [*words, *more])
        assert re.search(r"The source .*mine\.csv has changed since .*build-dataset was made", str(result.exception))
        assert "..." not in result.output, "no step is begun"


def test_a_step_of_another_recipe_is_told_with_what_to_delete_so_that_those_before_it_stay(tmp_path: Path) -> None:
    file, output = tmp_path / "my.yaml", tmp_path / "my run"
    words = ["reproduce", str(file), "--output", str(output), "--only", "build-dataset", "--only", "train"]

    def done(*more: str, **trainer: Any) -> Any:
        changes = {"train": {"trainer": trainer}}
        file.write_text(yaml.safe_dump(merge(copy.deepcopy(RECIPE), changes)), encoding="utf-8")
        return CliRunner().invoke(program, [*words, *more])

    assert done().exit_code == 0
    (output / "evaluate/.mmpref").mkdir(parents=True)
    (output / "report.html").touch()
    built = (output / "build-dataset/run.json").stat().st_mtime_ns
    for more in (["--dry-run"], []):
        error = done(*more, learning_rate=1e-5).exception
        assert isinstance(error, StaleRunError)
        assert "train belongs to another recipe (trainer.learning_rate: 1e-06 there, 1e-05 now)" in str(error)
    _, copy_there, and_then, remove, _ = error.hint.split("`")
    subprocess.run(copy_there, shell=True, check=True)
    assert sorted(path.name for path in Path(f"{output}-2").iterdir()) == ["build-dataset"]
    assert f"--output {shlex.quote(f'{output}-2')})" in and_then
    built_there = (Path(f"{output}-2") / "build-dataset/run.json").stat().st_mtime_ns
    assert done("--output", f"{output}-2", learning_rate=1e-5).exit_code == 0
    assert (Path(f"{output}-2") / "build-dataset/run.json").stat().st_mtime_ns == built_there
    for folder in shlex.split(remove.removeprefix("rm -r ")):
        shutil.rmtree(folder)
    assert sorted(path.name for path in output.iterdir()) == ["build-dataset", "report.html"]
    again = done(learning_rate=1e-5)
    assert again.exit_code == 0, again.output
    assert (output / "build-dataset/run.json").stat().st_mtime_ns == built
    assert json.loads((output / "train/run.json").read_text())["recipe"]["trainer"]["learning_rate"] == 1e-5


def test_however_a_recipes_file_is_called_its_work_lies_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    for folder in (below, tmp_path):
        (folder / "my.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")

    def folder_of(name: str) -> str:
        result = CliRunner().invoke(program, ["reproduce", name, "--dry-run", "--json"])
        assert result.exit_code == 0, result.output
        built = shlex.split(json.loads(result.stdout)["commands"][0])
        return built[built.index("--output") + 1]

    names = ["my.yaml", "./my.yaml", str(below / "my.yaml"), "../below/my.yaml"]
    assert set(map(folder_of, names)) == {"runs/reproduce-my.yaml/build-dataset"}
    outside = f"runs/reproduce-{tmp_path}/my.yaml/build-dataset"
    assert {folder_of("../my.yaml"), folder_of(str(tmp_path / "my.yaml"))} == {outside}
    assert folder_of("testbed") == "runs/reproduce-testbed/build-dataset"


def test_results_do_not_say_again_what_a_recipes_check_has_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remark = "Few. --set benchmark.pope.suffix=TEXT asks for the form that is read."
    evaluation_run(tmp_path / "evaluate", remarks=[remark])
    with each_once():
        _print(tmp_path, tmp_path / "report.html")
        assert "Note: Few. `benchmark.pope.suffix: TEXT` asks" in capsys.readouterr().out
        warn(remark)
        _print(tmp_path, tmp_path / "report.html")
        assert "Few." not in capsys.readouterr().out
