"""A build says which images tell where they were taken, and leaves that out where it is asked to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.image_metadata import has_position
from mmpref.recipes.schema import as_plain
from tests.data.built import rows_of
from tests.data.reversed_rows import recipe
from tests.test_image_metadata import encoded, exif, photo, pixels

pytestmark = pytest.mark.usefixtures("reverse")
FILES = {
    "a.jpg": photo("JPEG", 6),
    "b.png": photo("PNG", 3),
    "c.webp": photo("WEBP", 8),
    "d.tif": encoded("TIFF", exif=exif()),
    "e.png": encoded("PNG"),
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rows = []
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
        rows.append({"id": name, "image": name, "prompt": "What is it?", "answer": f"A photo by the name of {name}."})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return tmp_path


def test_images_that_say_where_they_were_taken_are_counted(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_dataset(recipe(photos), photos / "run")
    told = "4 of 5 images say where they were taken (GPS)"
    report = json.loads((photos / "run/report.json").read_text())
    assert [line for line in report["warnings"] if line.startswith(told) and "--strip-metadata" in line]
    assert told in caplog.text
    assert [row["images"][0]["bytes"] for row in rows_of(photos / "run")] == list(FILES.values())


def test_they_are_published_without(photos: Path) -> None:
    manifest = build_dataset(recipe(photos, strip_metadata=True), photos / "run")
    assert manifest["counts"]["changed"] == {"metadata_left": 1, "metadata_removed": 3}
    for row in rows_of(photos / "run"):
        [image] = row["images"]
        before, after = FILES[row["id"]], image["bytes"]
        assert has_position(after) == (row["id"] == "d.tif")
        assert (pixels(after) == pixels(before)).all()
        assert (after == before) == (row["id"] in ("d.tif", "e.png"))
    warnings = " ".join(json.loads((photos / "run/report.json").read_text())["warnings"])
    assert "1 of 5 images say" in warnings
    assert "1 row has images that are no whole JPEG, PNG or WebP files" in warnings


def test_recipes_that_do_not_ask_for_it_keep_their_hash() -> None:
    assert "strip_metadata" not in as_plain(BuildRecipe("m", "s"))
