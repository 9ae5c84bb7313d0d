"""What a build that cannot go on says, whose fault it is, and what becomes of its directory and its blocks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import InputError, ModelError, RunError, UsageError
from mmpref.registry import resolve_path
from mmpref.run.manifest import read_manifest
from tests.data.reversed_rows import ROWS, recipe

pytestmark = pytest.mark.usefixtures("reverse")


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
    with pytest.raises(RunError, match="adapter has changed since"):
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


@pytest.fixture
def own(source: Path, tmp_path: Path) -> Path:
    """A copy of the rows and pictures that a test may change."""
    return Path(shutil.copytree(source, tmp_path / "own"))


def test_a_finished_run_is_not_shown_as_that_of_another_source(own: Path, tmp_path: Path) -> None:
    values, rows = recipe(own, limit=4), own / "rows.json"
    before = rows.read_text()
    first = build_dataset(values, tmp_path / "run")
    rows.write_text(before + "\n")
    with pytest.raises(RunError, match=r"The source .*rows\.json has changed since .*run was made") as refused:
        build_dataset(values, tmp_path / "run")
    assert refused.value.hint.startswith("Choose another --output, or delete ")
    assert read_manifest(tmp_path / "run") == first, "what there is stays"
    rows.write_text(before)
    assert build_dataset(values, tmp_path / "run") == first


def test_a_finished_run_that_was_moved_is_complete(own: Path, tmp_path: Path) -> None:
    first = build_dataset(recipe(own), tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert build_dataset(recipe(own), tmp_path / "moved") == first


@pytest.mark.parametrize("named", [True, False])
def test_an_image_that_was_missing_and_is_there_now_is_told(own: Path, tmp_path: Path, named: bool) -> None:
    values = recipe(own, image_root=(str(own),) if named else ())
    first = build_dataset(values, tmp_path / "run")
    assert first["counts"]["skipped"]["missing-image"] == 1
    assert build_dataset(values, tmp_path / "run") == first
    shutil.copy(own / "1.png", own / "nowhere.png")
    with pytest.raises(RunError, match=r"missing is found \(nowhere\.png\)"):
        build_dataset(values, tmp_path / "run")


def test_data_of_excluded_images_that_changed_after_the_end_are_told(own: Path, tmp_path: Path) -> None:
    excluded = tmp_path / "excluded.jsonl"
    shutil.copy(own / "1.png", tmp_path / "1.png")
    excluded.write_text(json.dumps({"image": "1.png", "prompt": "What?"}) + "\n")
    values = recipe(own, exclude_images_of=(str(excluded),))
    build_dataset(values, tmp_path / "run")
    excluded.write_text(excluded.read_text() * 2)
    with pytest.raises(RunError, match=r"exclude-images-of: .*excluded\.jsonl has changed since"):
        build_dataset(values, tmp_path / "run")


def test_of_a_source_that_is_gone_it_is_warned(own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = build_dataset(recipe(own), tmp_path / "run")
    (own / "rows.json").unlink()
    assert build_dataset(recipe(own), tmp_path / "run") == first
    assert "rows.json is still what" in caplog.text
    assert "could not be checked: it is not there." in caplog.text


@pytest.fixture
def of_a_folder(tmp_path: Path) -> BuildRecipe:
    """Two pairs of a model that a test may change."""
    model = shutil.copytree(resolve_path("pkg:mmpref.testbed/model"), tmp_path / "model")
    embedder = {"similarity_model": "pkg:mmpref.testbed/embedder"}
    return BuildRecipe(str(model), "testbed", "bdhs", limit=2, builder=embedder)


@pytest.mark.parametrize("name", ["model.safetensors", "chat_template.jinja", "generation_config.json"])
def test_a_run_is_of_the_files_that_its_model_had(of_a_folder: BuildRecipe, tmp_path: Path, name: str) -> None:
    file = Path(str(of_a_folder.model)) / name
    first = build_dataset(of_a_folder, tmp_path / "run")
    (file.parent / "TRAINING.json").write_text("{}")  # what no model reads
    assert build_dataset(of_a_folder, tmp_path / "run") == first
    if name.endswith("safetensors"):
        save_file(load_file(file), file, {"format": "pt", "saved": "again"})
    else:
        file.write_text(file.read_text() + " ")
    told = "The" if name.endswith("safetensors") else f"{name} of the"
    with pytest.raises(RunError, match=rf"^{told} model \S*model has changed since .*run was made"):
        build_dataset(of_a_folder, tmp_path / "run")
    (tmp_path / "run/run.json").unlink()
    with pytest.raises(RunError, match=rf"^{told} model \S*model has changed since .*run was begun"):
        build_dataset(of_a_folder, tmp_path / "run")


def test_a_model_that_was_exchanged_after_the_last_block_is_told(
    of_a_folder: BuildRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mmpref.data.build.finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_dataset(of_a_folder, tmp_path / "run")
    file = Path(str(of_a_folder.model)) / "chat_template.jinja"
    before = file.read_text()
    file.write_text(before + " ")
    with pytest.raises(RunError, match=r"^chat_template\.jinja of the model .* has changed since .*run was begun"):
        build_dataset(of_a_folder, tmp_path / "run")
    file.write_text(before)
    assert build_dataset(of_a_folder, tmp_path / "run")["counts"]["rows"]


def test_a_run_of_before_that_knows_its_model_by_the_weights_is_complete(
    of_a_folder: BuildRecipe, tmp_path: Path
) -> None:
    first = build_dataset(of_a_folder, tmp_path / "run")
    pinned, template = tmp_path / "run/.mmpref/model.json", Path(str(of_a_folder.model)) / "chat_template.jinja"
    facts = json.loads(pinned.read_text())
    del facts["files"]
    pinned.write_text(json.dumps(facts))
    template.write_text(template.read_text() + " ")
    assert build_dataset(of_a_folder, tmp_path / "run") == first


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


def test_bad_rows_that_fill_a_block_do_not_stop_the_rest(source: Path, tmp_path: Path) -> None:
    bad = {"poison": "row16,row17,row18,row19"}
    manifest = build_dataset(recipe(source, block_size=4, builder=bad), tmp_path / "run")
    assert manifest["counts"]["skipped"]["failed"] == 4
    assert manifest["counts"]["rows"] == ROWS - sum(manifest["counts"]["skipped"].values())


def test_too_little_memory_is_not_the_rows_fault(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="memory") as raised:
        build_dataset(recipe(source, builder={"poison": "memory"}), tmp_path / "run")
    assert "batch_size" in raised.value.hint
