"""An evaluation on images that its adapter was trained on says so, in its results too."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from mmpref.bench.evaluate import evaluate
from mmpref.bench.finished_model import read_finished
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.image_metadata import without_metadata
from mmpref.run.asked import TRAINED_ON
from mmpref.run.training_images import TRAINING_IMAGES, shortened, write_training_images
from mmpref.types import ImageData
from tests.test_image_metadata import photo

from .conftest import MODEL, png, pope_row, write_rows

IMAGES = [png("red"), png("green"), png("blue")]


@pytest.fixture
def trained(adapter: Path, tmp_path: Path) -> Path:
    """An adapter that was trained on two of the three images, and on one that nobody asks about."""
    folder = Path(shutil.copytree(adapter, tmp_path / "trained"))
    write_training_images(folder, [shortened(ImageData(one).sha256) for one in (*IMAGES[:2], IMAGES[0], png("white"))])
    assert len((folder / TRAINING_IMAGES).read_text().split()) == 3
    return folder


def test_images_of_the_training_are_told(trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However a row has them, and each once."""
    (tmp_path / "renamed.png").write_bytes(IMAGES[1])
    images = [base64.b64encode(IMAGES[0]).decode(), "renamed.png", base64.b64encode(IMAGES[2]).decode()]
    file = write_rows(tmp_path / "pope.jsonl", [pope_row(n, image) for n, image in enumerate((*images, images[0]))])
    settings = {"pope": {"data": str(file)}}
    recipe = EvaluateRecipe(MODEL, ("pope",), adapter=str(trained), benchmark=settings)
    found = evaluate(recipe, tmp_path / "run")
    remark = "pope: 2 of its 3 images are among those that the adapter was trained on"
    assert any(remark in line for line in found["remarks"]), found["remarks"]
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert any(remark in line for line in results["asked"]["pope"]["remarks"])
    assert results["asked"]["pope"]["trained_on"] == 2
    (adapter,) = (one for one in read_finished([tmp_path / "run"]) if one.model == "adapter")
    assert adapter.marks("pope") == (TRAINED_ON,)
    assert caplog.text.count(remark) == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", None])
def test_an_adapter_without_them_is_evaluated_without_a_word(trained: Path, tmp_path: Path, content: bytes) -> None:
    (trained / TRAINING_IMAGES).unlink()
    if content is not None:
        (trained / TRAINING_IMAGES).write_bytes(content)
    file = write_rows(tmp_path / "pope.jsonl", [pope_row(0, base64.b64encode(IMAGES[0]).decode())])
    recipe = EvaluateRecipe(MODEL, ("pope",), adapter=str(trained), benchmark={"pope": {"data": str(file)}})
    assert not any("trained on" in line for line in evaluate(recipe, tmp_path / "run").get("remarks", []))


def test_an_image_is_known_by_what_is_left_of_it_without_its_metadata(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    camera = photo("JPEG", 6)
    bare = without_metadata(camera)
    assert bare
    assert bare != camera
    write_training_images(trained, [shortened(ImageData(bare).sha256)])
    rows = [pope_row(n, base64.b64encode(image).decode()) for n, image in enumerate((camera, IMAGES[0]))]
    settings = {"pope": {"data": str(write_rows(tmp_path / "pope.jsonl", rows))}}
    evaluate(EvaluateRecipe(MODEL, ("pope",), adapter=str(trained), benchmark=settings), tmp_path / "run")
    assert "1 of its 2 images are among those" in caplog.text
