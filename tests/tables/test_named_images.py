"""Images that rows name, whatever the form of the name and wherever they lie, are known again by it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mmpref.errors import ImageError, RunError
from mmpref.tables.image_cells import find_images
from mmpref.tables.image_roots import MAX_PATH
from mmpref.tables.named_images import RecordingRoots, joined, refuse_changed_images, refuse_other_images
from mmpref.types import ImageData

COCO = "http://images.cocodataset.org/train2017/000000000139.jpg"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a b.png", "Photo.JPG", "COCO_val2014_000000000139.jpg", "c.png"):
        (folder / name).write_bytes(name.encode())
    return folder


NAMES = {
    "./data/c.png": "c.png",
    "photo.jpg": "Photo.JPG",
    COCO: "COCO_val2014_000000000139.jpg",
    "/a b.png": "a b.png",
}


def recorded(*roots: Path) -> dict[str, str]:
    recording = RecordingRoots(roots)
    for cell in ("./data/c.png", {"path": "photo.jpg"}, COCO, "file:///a%20b.png", b"the image itself"):
        find_images([cell], recording)
    for cell in ("nowhere.png", "x" * (MAX_PATH + 1), "https://example.com/x.png"):
        with pytest.raises(ImageError):
            find_images([cell], recording)
    taken = recording.take()
    assert recording.take() == {}
    return taken


def test_every_form_of_a_name_is_known_again(root: Path, tmp_path: Path) -> None:
    digests = recorded(root)
    assert digests.keys() == {*NAMES, "nowhere.png"}
    assert not digests["nowhere.png"]
    refuse_changed_images(tmp_path, [digests], [[root]])
    for name, file in NAMES.items():
        before = (root / file).read_bytes()
        (root / file).write_bytes(b"another")
        with pytest.raises(RunError) as refused:
            refuse_changed_images(tmp_path, [{}, digests], [None, [root]])
        assert refused.value.message == f"The image {name} has changed since {tmp_path} was begun."
        (root / file).write_bytes(before)
    (root / "nowhere.png").write_bytes(b"found")
    with pytest.raises(RunError, match="An image that was missing is found"):
        refuse_changed_images(tmp_path, [digests], [[root]])


def test_an_image_in_an_archive_is_known_again(root: Path, tmp_path: Path) -> None:
    def pack(changed: str = "") -> Path:
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for file in root.iterdir():
                archive.writestr(file.name, b"another" if file.name == changed else file.read_bytes())
        return tmp_path / "images.zip"

    digests = recorded(pack())
    refuse_changed_images(tmp_path, [digests], [[pack()]])
    with pytest.raises(RunError, match=r"The image \./data/c\.png has changed"):
        refuse_changed_images(tmp_path, [digests], [[pack("c.png")]])


def test_another_root_before_the_first_is_noticed(root: Path, tmp_path: Path) -> None:
    digests, first = recorded(root), tmp_path / "first"
    first.mkdir()
    refuse_changed_images(tmp_path, [digests], [[first, root]])
    (first / "c.png").write_bytes(b"another")
    with pytest.raises(RunError, match=r"The image \./data/c\.png has changed"):
        refuse_changed_images(tmp_path, [digests], [[first, root]])


def test_a_coco_image_that_cannot_be_read_is_gone_whatever_lies_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    digests = recorded(root)

    def refused(*_: object) -> ImageData:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mmpref.tables.image_roots.read_under", refused)
    recording = RecordingRoots([root])
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        find_images([COCO], recording)
    assert recording.take() == {COCO: ""}
    refuse_changed_images(tmp_path, [{COCO: digests[COCO]}], [[root]])
    assert f"whether the image {COCO} is still what" in caplog.text
    refuse_other_images(tmp_path, {"c.png": digests["./data/c.png"]}, {})
    assert "whether the image c.png is still what" in caplog.text


def test_of_an_image_that_changed_under_the_run_the_first_content_counts() -> None:
    assert joined([[{"a": "1"}, {}], [], [{"a": "2", "b": "3"}, {"c": "4"}]]) == [{"a": "1", "b": "3"}, {"c": "4"}]
