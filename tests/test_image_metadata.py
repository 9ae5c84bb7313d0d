"""Where an image was taken is seen, and what it carries beside its pixels can be left out without touching these."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from mmpref.errors import ImageError
from mmpref.image_metadata import has_position, without_metadata
from mmpref.images import decode
from mmpref.types import ImageData

SECRETS = (b"ACME Camera", b"a private note", b"Mallory", b"GPSLatitude")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf exif:GPSLatitude="48,8N" name="Mallory"/></x:xmpmeta>'
FORMATS = ("JPEG", "PNG", "WEBP")


def exif(orientation: int = 1, place: bool = True) -> Image.Exif:
    block = Image.Exif()
    block[0x010F] = "ACME Camera"
    block[0x0112] = orientation
    if place:
        block.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)})
        block[0x8825] = dict(block.get_ifd(0x8825))  # else no TIFF gets it
    return block


def picture(mode: str = "RGB", size: tuple[int, int] = (23, 14)) -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    noise[..., 3] |= 1  # something can be seen of it
    return Image.fromarray(noise).convert(mode)


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, form, **options)
    return buffer.getvalue()


def photo(form: str, orientation: int = 1) -> bytes:
    """With all that a camera and an editor put into a file."""
    options: dict[str, object] = {
        "exif": exif(orientation),
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    }
    if form == "PNG":
        options["pnginfo"] = notes = PngImagePlugin.PngInfo()
        notes.add_text("Comment", "a private note")
        notes.add_itxt("XML:com.adobe.xmp", XMP.decode())
        notes.add_text("Author", "Mallory", zip=True)
    else:
        options["xmp"] = XMP
    if form == "JPEG":
        options |= {"comment": b"a private note", "progressive": True}
    return encoded(form, **options)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode(ImageData(content)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", FORMATS)
def test_all_but_the_orientation_goes_and_no_pixel_changes(form: str, orientation: int) -> None:
    before = photo(form, orientation)
    after = without_metadata(before)

    assert after is not None
    assert has_position(before)
    assert not has_position(after)
    assert (pixels(after) == pixels(before)).all()
    assert len(after) < len(before)
    assert not [secret for secret in SECRETS if secret in after]
    with Image.open(io.BytesIO(after)) as opened:
        opened.load()
        tags, kept = dict(opened.getexif()), opened.info
    assert tags == ({0x0112: orientation} if orientation > 1 else {})
    assert "icc_profile" in kept
    assert not {"xmp", "comment", "Comment", "Author"} & set(kept)
    assert without_metadata(after) == after


def test_an_orientation_that_only_xmp_names_is_kept() -> None:
    before = encoded("JPEG", xmp=b'<rdf tiff:Orientation="6"/>')
    after = without_metadata(before)

    assert after is not None
    assert b"tiff:Orientation" not in after
    assert (pixels(after) == pixels(before)).all()
    assert pixels(after).shape == (23, 14, 3)


def plain() -> Iterator[tuple[str, bytes]]:
    for mode in ("RGB", "L", "CMYK"):
        yield f"JPEG {mode}", encoded("JPEG", mode)
    yield "JPEG with restart markers", encoded("JPEG", restart_marker_blocks=1, quality=100)
    for mode in ("RGB", "RGBA", "LA", "P", "1", "I;16"):
        image = picture("L").convert("I").convert("I;16") if mode == "I;16" else picture(mode)
        image.save(buffer := io.BytesIO(), "PNG")
        yield f"PNG {mode}", buffer.getvalue()
    for options in ({}, {"lossless": True}):
        yield f"WebP {options}", encoded("WEBP", **options)
        yield f"WebP with alpha {options}", encoded("WEBP", "RGBA", **options)
    for form in ("PNG", "WEBP"):
        yield f"animated {form}", encoded(form, save_all=True, append_images=[picture().rotate(180)])


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in plain()])
def test_a_file_without_metadata_stays_as_it_is(content: bytes) -> None:
    assert without_metadata(content) == content
    assert not has_position(content)


def test_what_lies_behind_the_end_of_an_image_goes() -> None:
    for form in FORMATS:
        before = encoded(form)
        assert without_metadata(before + b"ftypmp42 a film of the same place") == before


def test_a_second_picture_of_a_phone_goes_with_its_index() -> None:
    buffer = io.BytesIO()
    second = picture()
    second.info["exif"] = exif().tobytes()
    picture().save(buffer, "MPO", save_all=True, append_images=[second], exif=exif(6))
    after = without_metadata(buffer.getvalue())

    assert after is not None
    assert not has_position(after)
    assert b"ACME" not in after
    assert b"MPF\0" not in after
    assert (pixels(after) == pixels(buffer.getvalue())).all()


def test_exif_behind_the_pixels_of_a_png_is_found() -> None:
    content, body = encoded("PNG"), b"eXIf" + exif(8).tobytes().removeprefix(b"Exif\0\0")
    chunk = (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    late = content[:-12] + chunk + content[-12:]
    after = without_metadata(late)

    assert has_position(late)
    assert after is not None
    assert not has_position(after)
    assert (pixels(after) == pixels(late)).all()
    assert pixels(after).shape == (23, 14, 3)


def test_other_formats_are_told_and_their_places_seen() -> None:
    for form in ("TIFF", "AVIF"):
        content = encoded(form, exif=exif())
        assert without_metadata(content) is None
        assert has_position(content)
    for form in ("GIF", "BMP"):
        assert without_metadata(encoded(form)) is None
        assert not has_position(encoded(form))


def test_a_camera_is_no_position() -> None:
    assert not has_position(encoded("JPEG", exif=exif(place=False)))


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_files_as_people_have_them_keep_their_pixels() -> None:
    files = list(Path(__file__).with_name("cases").joinpath("images").iterdir())
    changed = 0
    for file in files:
        content = file.read_bytes()
        if (after := without_metadata(content)) is not None:
            assert (pixels(after) == pixels(content)).all(), file
            changed += after != content
    assert changed


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_broken_files_are_told_or_show_what_they_showed() -> None:
    draw = random.Random(5)
    for form in FORMATS:
        whole = photo(form, 6)
        for _ in range(200):
            broken = bytearray(whole[: draw.randrange(4, len(whole))] if draw.random() < 0.3 else whole)
            for _ in range(draw.randrange(4)):
                broken[draw.randrange(len(broken))] = draw.randrange(256)
            has_position(bytes(broken))  # raises nothing
            after = without_metadata(bytes(broken))
            try:
                shown = pixels(bytes(broken))
            except ImageError:
                continue
            assert after is None or (pixels(after) == shown).all()


def test_thumbnails_in_the_head_of_a_jpeg_go() -> None:
    plain, thumbnail = encoded("JPEG"), bytes(range(1, 13))
    assert plain[2:11] == b"\xff\xe0\x00\x10JFIF\x00"
    body = plain[6:18] + bytes([2, 2]) + thumbnail
    extension = b"JFXX\x00\x13" + bytes([2, 2]) + thumbnail
    segments = [b"\xff\xe0" + (len(part) + 2).to_bytes(2) + part for part in (body, extension)]
    content = plain[:2] + b"".join(segments) + plain[20:]
    assert np.array_equal(pixels(content), pixels(plain))
    assert without_metadata(content) == plain
