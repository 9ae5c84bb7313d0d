"""Image roots: archives and folders, what is found by which name, and what is never read."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from mmpref.errors import ImageError, InputError
from mmpref.tables import image_roots as roots
from mmpref.tables.image_cells import find_images
from mmpref.tables.image_roots import ImageRoots, MissingImageError


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["merged_images/a.jpg", "a.jpg", "./a.jpg", "/home/author/merged_images/a.jpg", "data/a.jpg"]
)
def test_an_image_in_an_archive(tmp_path: Path, name: str) -> None:
    found = ImageRoots([archive(tmp_path / "x.zip", {"merged_images/a.jpg": b"a", "merged_images/b.jpg": b"b"})])
    assert found.read(name).content == b"a"
    assert found.read(name).name == "a.jpg"


def test_coco_names_in_an_archive(tmp_path: Path) -> None:
    found = ImageRoots([archive(tmp_path / "train2017.zip", {"train2017/000000000009.jpg": b"9"})])
    assert found.read("COCO_train2014_000000000009.jpg").content == b"9"


def test_the_first_root_wins_and_the_whole_path_before_its_end(tmp_path: Path) -> None:
    for folder, content in (("one/a", b"short"), ("two/coco", b"long")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.jpg").write_bytes(content)
    (tmp_path / "one/x.jpg").write_bytes(b"end")
    found = ImageRoots([tmp_path / "one", tmp_path / "two"])
    assert found.read("coco/x.jpg").content == b"long"
    assert found.read("nowhere/x.jpg").content == b"end"
    assert found.read("a/x.jpg").content == b"short"


def test_nothing_outside_of_a_root_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    found = ImageRoots([folder, archive(tmp_path / "x.zip", {"../secret.jpg": b"member", "a.jpg": b"a"})])
    for name in (str(tmp_path / "secret.jpg"), "link.jpg"):
        with pytest.raises(ImageError, match="leaves its root"):
            found.read(name)
    # A member whose name climbs is data like any other: it is read from the archive, never unpacked.
    assert found.read("../secret.jpg").content == b"member"
    assert found.read("../secret.jpg").name == "secret.jpg"
    with pytest.raises(ImageError, match="leaves its root"):
        found.read("../other.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_path_through_a_folder_of_somebody_else_is_found_by_its_end(tmp_path: Path) -> None:
    for name in ("photos", "closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"a")
    (tmp_path / "closed").chmod(0)
    found = ImageRoots([tmp_path / "photos"])
    assert found.finds(str(tmp_path / "closed/photos/a.jpg"))
    assert found.read(str(tmp_path / "closed/photos/a.jpg")).content == b"a"


def test_a_missing_image_says_its_name(tmp_path: Path) -> None:
    with pytest.raises(MissingImageError, match=r"no image file './coco/9.jpg'") as error:
        ImageRoots([tmp_path]).read("./coco/9.jpg")
    assert error.value.name == "./coco/9.jpg"


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "MAX_MEMBER", 1000)
    found = ImageRoots([archive(tmp_path / "bomb.zip", {"a.jpg": bytes(1001), "b.jpg": b"b"})])
    with pytest.raises(ImageError, match="unpacks to 1001 bytes"):
        found.read("a.jpg")
    assert found.read("b.jpg").content == b"b"


def test_damaged_archives(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"image root .*no\.zip cannot be read"):
        ImageRoots([tmp_path / "no.zip"])
    path = archive(tmp_path / "flipped.zip", {"a.jpg": b"abcdefgh" * 200})
    content = bytearray(path.read_bytes())
    content[40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ImageError, match="cannot be read"):
        ImageRoots([path]).read("a.jpg")


def places(folder: Path, names: dict[str, bytes]) -> list[ImageRoots]:
    """A folder and an archive with these files."""
    for name, content in names.items():
        (folder / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "root" / name).write_bytes(content)
    return [ImageRoots([folder / "root"]), ImageRoots([archive(folder / "x.zip", names)])]


@pytest.mark.parametrize(
    "name",
    ["Photos/cafe\u0301 1.jpg", "PHOTOS/CAF\u00c9 1.JPG", "/home/author/photos/Caf\u00e9 1.jPg", "caf\u00e9 1.jpeg"],
)
def test_one_file_in_other_letters_is_found_and_told_once(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a table from Windows or macOS names files that lie on Linux: case, and accents composed or taken apart."""
    written = "photos/cafe\u0301 1.JPG"
    for number, found in enumerate(places(tmp_path, {written: b"here", "photos/x.jpg": b"x", "y.jpg": b"y"})):
        if name.endswith("jpeg"):
            with pytest.raises(MissingImageError):
                found.read(name)
            continue
        caplog.clear()
        for _ in range(2):
            assert found.read(name).content == b"here"
            assert found.finds(name)
            assert found.note(name) == roots.RESPELLED
        assert caplog.text.count("it is not told again") == 1, number
        assert found.note("photos/x.jpg") is None
        assert found.note("far/photos/x.jpg") == roots.SHORTENED


def test_of_several_files_in_other_letters_none_is_taken(tmp_path: Path) -> None:
    names = {"Photo.jpg": b"1", "PHOTO.jpg": b"2", "other/photo.JPG": b"3"}
    for found in places(tmp_path, names):
        with pytest.raises(MissingImageError, match=r"but 'PHOTO\.jpg' and 'Photo\.jpg': any could be meant"):
            found.read("pHOTO.jpg")
        assert not found.finds("pHOTO.jpg")
        assert found.read("PHOTO.jpg").content == b"2", "what is written so is meant"
        assert found.read("OTHER/photo.jpg").content == b"3"


def test_no_other_letters_lead_out_of_a_root(tmp_path: Path) -> None:
    (tmp_path / "Secret.jpg").write_bytes(b"secret")
    (tmp_path / "away").mkdir()
    (tmp_path / "away/Secret.jpg").write_bytes(b"secret")
    [found, _] = places(tmp_path, {"a.jpg": b"a"})
    (tmp_path / "root/Link.jpg").symlink_to(tmp_path / "Secret.jpg")
    (tmp_path / "root/Folder").symlink_to(tmp_path / "away")
    for name in ("../secret.jpg", "../SECRET.jpg", "link.jpg", "folder/secret.jpg", str(tmp_path / "secret.jpg")):
        assert not found.finds(name)
        with pytest.raises(ImageError):
            found.read(name)


def test_rows_with_names_in_other_letters_are_counted(tmp_path: Path) -> None:
    [found, _] = places(tmp_path, {"Photo.jpg": b"1"})
    images, notes = find_images(["photo.JPG", "Photo.jpg"], found)
    assert [image.content for image in images] == [b"1", b"1"]
    assert notes == (roots.RESPELLED,)
