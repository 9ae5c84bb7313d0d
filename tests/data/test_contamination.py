"""Rows whose images are in an evaluation set are left out, and told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmpref.data.build import build_dataset
from mmpref.data.contamination import EXCLUDED
from mmpref.errors import InputError, RunError
from mmpref.types import Example, ImageData, Skip
from tests import bare
from tests.data.pictures import excluding, ids, picture, recipe, write_pictures
from tests.hub_fixtures import HubAccount


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pairs"))


def example(image: bytes, name: str = "") -> Example:
    return Example("one", (ImageData(image, name),), (), "", "")


def test_an_image_is_recognised_scaled_and_compressed() -> None:
    excluded = excluding(ImageData(picture(seed)) for seed in range(20))
    for seed in range(20):
        again = picture(seed, (300, 225), format="JPEG", quality=60)
        made = excluded(example(again))
        assert isinstance(made, Skip)
        assert made.reason == EXCLUDED
    for seed in range(20, 120):
        assert excluded(example(picture(seed))) == example(picture(seed))


def test_coco_names_of_both_years_are_one_image() -> None:
    excluded = excluding([ImageData(picture(1), "val2014/COCO_val2014_000000000042.jpg")])
    assert excluded(example(picture(2), "000000000042.jpg")) == Skip("one", EXCLUDED, "COCO image 42")
    assert isinstance(excluded(example(picture(2), "000000000043.jpg")), Example)


def test_images_of_an_evaluation_set_are_left_out_and_told(source: Path, tmp_path: Path) -> None:
    held_out = recipe(source, exclude_images_of=(f"{source}/test.json:test",))
    manifest = build_dataset(held_out, tmp_path / "run")
    assert manifest["counts"] == {"rows": 35, "skipped": {EXCLUDED: 5}}
    assert not set(ids(tmp_path / "run")) & {f"row{number}" for number in range(5)}
    assert [table["id"] for table in manifest["excluded"]] == [f"{source}/test.json"]


def test_an_evaluation_set_that_changes_under_a_run_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "eval" / name).write_bytes((source / name).read_bytes())
    listed = tmp_path / "eval/test.json"
    listed.write_text('[{"image": "0.png"}]')
    held_out = recipe(source, exclude_images_of=(str(listed),))
    build_dataset(held_out, tmp_path / "run", shard=(0, 2))
    listed.write_text('[{"image": "1.png"}]')
    with pytest.raises(RunError, match="exclude-images-of"):
        build_dataset(held_out, tmp_path / "run", shard=(1, 2))


COMMITTED = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi
from mmpref.data.contamination import open_excluded
from mmpref.run.directory import open_run

repo, run, api = sys.argv[1], open_run(Path(sys.argv[2]), "build-dataset", {}), HfApi()
api.create_repo(repo, repo_type="dataset")

def commit(path, content):
    return api.upload_file(repo_id=repo, path_in_repo=path, path_or_fileobj=content, repo_type="dataset").oid

begun = commit("test.jsonl", b'{"image": "000000000042.jpg"}')
file = f"hf://datasets/{repo}@main/test.jsonl"
assert open_excluded(run, [repo, file]).add_name("x") is False
commit("README.md", b"# Said better")
open_excluded(run, [repo, file])
assert [table["revision"] for table in run.pinned("excluded")["tables"]] == [begun] * 2
"""


def test_a_build_keeps_to_the_commit_of_an_evaluation_set(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    done = bare.python(COMMITTED, f"{hub.name}/pope", str(tmp_path / "run"), environment=hub_env)
    assert done.returncode == 0, done.stderr


def test_an_evaluation_set_without_images_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text('[{"image": "nowhere.png"}]')
    lacking = str(tmp_path / "test.json")
    for tables in ((lacking,), (f"{source}/test.json", lacking)):
        with pytest.raises(InputError, match=f"No image of {lacking}") as raised:
            build_dataset(recipe(source, exclude_images_of=tables), tmp_path / "run")
        assert "nowhere.png" in raised.value.hint


@pytest.mark.parametrize("beside", [True, False])
def test_images_of_an_evaluation_set_lie_beside_it_or_under_the_root(
    source: Path, tmp_path: Path, beside: bool
) -> None:
    """What lies beside the set is meant before what the root has of the same name."""
    (tmp_path / "shown.json").write_text('[{"image": "3.png"}]')
    if beside:
        (tmp_path / "3.png").write_bytes((source / "4.png").read_bytes())
    held_out = recipe(source, exclude_images_of=(f"{tmp_path}/shown.json",), image_root=(str(source),))
    manifest = build_dataset(held_out, tmp_path / "run")
    assert manifest["counts"]["skipped"] == {EXCLUDED: 1}
    assert f"row{4 if beside else 3}" not in ids(tmp_path / "run")


def test_images_of_an_evaluation_set_that_cannot_be_read_are_told(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """But for those with a COCO name, which says enough."""
    source = shutil.copytree(source, tmp_path / "source")
    rows = [{"image": name} for name in ("0.png", "gone.png", "val2014/COCO_val2014_000000000042.jpg")]
    (source / "part.json").write_text(json.dumps(rows))
    (source / "broken.json").write_text(json.dumps([*rows, {"image": "broken.png"}]))
    (source / "broken.png").write_bytes(b"GIF89a")
    (source / "000000000042.png").write_bytes((source / "7.png").read_bytes())
    more = json.loads((source / "rows.json").read_text())
    more[7]["image"] = "000000000042.png"
    (source / "rows.json").write_text(json.dumps(more))
    manifest = build_dataset(recipe(source, exclude_images_of=(f"{source}/part.json",)), tmp_path / "run")
    assert manifest["counts"]["skipped"] == {EXCLUDED: 2}
    assert "1 of 3 images" in caplog.text
    assert "gone.png" in caplog.text
    assert "1 of 3 images of" in caplog.text.partition("known by their COCO id alone")[0].rpartition("Warning")[2]
    build_dataset(recipe(source, exclude_images_of=(f"{source}/broken.json",)), tmp_path / "other")
    assert "2 of 4 images" in caplog.text


def test_that_images_are_known_by_their_coco_ids_alone_is_told(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [{"image": f"COCO_val2014_00000000000{number}.jpg"} for number in range(3)]
    (tmp_path / "pope.json").write_text(json.dumps(names))
    build_dataset(recipe(source, exclude_images_of=(f"{tmp_path}/pope.json",)), tmp_path / "run")
    assert "3 of 3 images of" in caplog.text
    assert "cannot be read and are known by their COCO id alone" in caplog.text


@pytest.mark.parametrize("columns", [("image", "image_2"), ("Image_0", "Image_1")])
def test_further_images_of_a_row_are_excluded_too(source: Path, tmp_path: Path, columns: tuple[str, str]) -> None:
    row = dict(zip(columns, ("0.png", "1.png"), strict=True))
    (tmp_path / "two.json").write_text(json.dumps([row]))
    values = recipe(source, exclude_images_of=(f"{tmp_path}/two.json",), image_root=(str(source),))
    assert build_dataset(values, tmp_path / "run")["counts"]["skipped"] == {EXCLUDED: 2}
    assert not {"row0", "row1"} & {*ids(tmp_path / "run")}
