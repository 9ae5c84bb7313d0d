"""Photos that rows name by path: a build that is asked for again looks at what they show by now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import RunError
from mmpref.registry import resolve_path
from tests.data.reversed_rows import picture, recipe

pytestmark = pytest.mark.usefixtures("reverse")
OTHER = picture(99)


@pytest.fixture
def own(source: Path, tmp_path: Path) -> Path:
    """A copy of the rows and pictures that a test may change."""
    return Path(shutil.copytree(source, tmp_path / "own"))


@pytest.mark.parametrize("named", [True, False])
def test_a_photo_that_was_exchanged_after_the_end_is_told(own: Path, tmp_path: Path, named: bool) -> None:
    values = recipe(own, image_root=(str(own),) if named else (), limit=8)
    first = build_dataset(values, tmp_path / "run")
    photo, before = own / "3.png", (own / "3.png").read_bytes()
    (own / "20.png").write_bytes(OTHER)  # of a row behind the limit
    assert build_dataset(values, tmp_path / "run") == first
    photo.write_bytes(OTHER)
    with pytest.raises(RunError, match=r"^The image 3\.png has changed since .*run was made") as refused:
        build_dataset(values, tmp_path / "run")
    assert refused.value.hint.startswith("Choose another --output, or delete ")
    (own / "5.png").write_bytes(OTHER)
    with pytest.raises(RunError, match=r"^The image 3\.png has changed, and 1 more, since"):
        build_dataset(values, tmp_path / "run")
    (own / "5.png").unlink()
    photo.write_bytes(before)
    assert build_dataset(values, tmp_path / "run") == first, "a photo that is gone spoils no pair"


def test_a_photo_that_was_exchanged_while_the_build_was_interrupted_is_told(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = recipe(own, limit=16)
    build_dataset(values, tmp_path / "run", shard=(0, 2))  # rows 0 to 3 and 8 to 11
    (own / "5.png").write_bytes(OTHER)  # of a block that is still to come
    done, before = own / "2.png", (own / "2.png").read_bytes()
    done.write_bytes(OTHER)
    with pytest.raises(RunError, match=r"^The image 2\.png has changed since .*run was begun"):
        build_dataset(values, tmp_path / "run")
    done.write_bytes(before)
    (own / "1.png").unlink()
    assert build_dataset(values, tmp_path / "run")["counts"]["rows"] == 12
    assert "whether the image 1.png is still what" in caplog.text


def test_a_photo_that_is_there_before_the_build_goes_on_is_told(own: Path, tmp_path: Path) -> None:
    build_dataset(recipe(own), tmp_path / "run", shard=(0, 2))
    (own / "nowhere.png").write_bytes(OTHER)  # of row 9, which was skipped
    with pytest.raises(RunError, match=r"missing is found \(nowhere\.png\), so the rows have changed since .* begun"):
        build_dataset(recipe(own), tmp_path / "run")


def test_a_photo_that_could_not_be_decoded_and_can_be_now_is_told(own: Path, tmp_path: Path) -> None:
    good = (own / "3.png").read_bytes()
    (own / "3.png").write_bytes(good[:40])
    first = build_dataset(recipe(own), tmp_path / "run")
    assert first["counts"]["skipped"]["bad-image"] == 1
    assert build_dataset(recipe(own), tmp_path / "run") == first
    (own / "3.png").write_bytes(good)
    with pytest.raises(RunError, match=r"The image 3\.png has changed"):
        build_dataset(recipe(own), tmp_path / "run")


def test_images_of_several_tables_are_looked_for_in_their_own_folders(own: Path, tmp_path: Path) -> None:
    second = Path(shutil.copytree(own, tmp_path / "second"))
    values = recipe(own, source=[str(own / "rows.json"), str(second / "rows.json")], limit=4)
    first = build_dataset(values, tmp_path / "run")
    shutil.copy(own / "3.png", own / "2.png")
    shutil.copy(second / "3.png", second / "nowhere.png")  # of a row behind the limit
    with pytest.raises(RunError, match=r"The image 2\.png has changed"):
        build_dataset(values, tmp_path / "run")
    shutil.copy(second / "2.png", own / "2.png")
    assert build_dataset(values, tmp_path / "run") == first
    shutil.rmtree(own)
    assert build_dataset(values, tmp_path / "run") == first
    shutil.copy(second / "3.png", second / "2.png")
    with pytest.raises(RunError, match=r"The image 2\.png has changed"):
        build_dataset(values, tmp_path / "run")


@pytest.mark.parametrize("finished", [True, False])
def test_a_photo_of_the_data_to_be_excluded_that_was_exchanged_is_told(
    own: Path, tmp_path: Path, finished: bool
) -> None:
    excluded = tmp_path / "excluded.jsonl"
    shutil.copy(own / "1.png", tmp_path / "1.png")
    excluded.write_text(json.dumps({"image": "1.png", "prompt": "What?"}) + "\n")
    values = recipe(own, exclude_images_of=(str(excluded),))
    build_dataset(values, tmp_path / "run", shard=None if finished else (0, 2))
    (tmp_path / "1.png").write_bytes(OTHER)
    with pytest.raises(RunError, match=f"The image 1.png has changed since .*{'made' if finished else 'begun'}"):
        build_dataset(values, tmp_path / "run")


@pytest.fixture
def ranked(own: Path) -> BuildRecipe:
    """Of pairs that two tables rank."""
    turns = [{"from": "human", "value": "<image>\nDescribe."}]
    answers = {"answer_1": "A cat on a rug.", "answer_2": "A dog and a mug."}
    rows = [{"id": str(n), "image": f"{n}.png", "conversations": turns, **answers} for n in range(8)]
    (own / "ranked.json").write_text(json.dumps(rows))
    (own / "seen.json").write_text(json.dumps({str(n): ["dog"] for n in range(8)}))
    (own / "synonyms.txt").write_text("cat, kitty\ndog, puppy\n")
    tables = {"detections": str(own / "seen.json"), "synonyms": str(own / "synonyms.txt")}
    return recipe(own, source=str(own / "ranked.json"), method="chair-dpo", model=None, builder=tables)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("table", ["seen.json", "synonyms.txt"])
def test_a_table_that_settings_name_that_was_changed_is_told(
    ranked: BuildRecipe, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str, finished: bool
) -> None:
    first, before = build_dataset(ranked, tmp_path / "run", shard=None if finished else (0, 2)), own / table
    text = before.read_text()
    before.write_text(text.replace("dog", "cow"))
    since = "made" if finished else "begun"
    with pytest.raises(RunError, match=rf"^{before} has changed since .*run was {since}"):
        build_dataset(ranked, tmp_path / "run")
    before.write_text(text)
    assert build_dataset(ranked, tmp_path / "run")["counts"]["rows"] == 8
    if finished:
        before.unlink()
        assert build_dataset(ranked, tmp_path / "run") == first
        assert f"whether {before} is still what" in caplog.text


def test_an_embedder_in_a_folder_that_was_changed_is_told(own: Path, tmp_path: Path) -> None:
    embedder = Path(shutil.copytree(resolve_path("pkg:mmpref.testbed/embedder"), tmp_path / "embedder"))
    settings = {"similarity_model": str(embedder), "max_answer_tokens": 4, "keep_cut_off": True}
    values = recipe(own, model="pkg:mmpref.testbed/model", method="other-image", limit=3, builder=settings)
    first = build_dataset(values, tmp_path / "run")
    (embedder / "README.md").write_text("Words.")
    assert build_dataset(values, tmp_path / "run") == first, "a card makes no answer"
    pooling = embedder / "1_Pooling/config.json"
    pooling.write_text(pooling.read_text() + "\n")
    with pytest.raises(RunError, match=rf"^{embedder} has changed since"):
        build_dataset(values, tmp_path / "run")
