"""What a model sees of images that are not 8-bit RGB, and how it is counted."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.data.summary import summary_rows
from mmpref.errors import ImageError
from mmpref.images import FLOAT, SIXTEEN_BIT, TRANSPARENT, decode, decode_noting
from mmpref.types import ImageData

RAMP = np.linspace(0, 1, 256).reshape(16, 16)
GREY = np.rint(RAMP * 255).astype(np.uint8)


def stored(picture: Image.Image | np.ndarray, kind: str = "PNG", **saving: Any) -> ImageData:
    buffer = io.BytesIO()
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(buffer, kind, **saving)
    return ImageData(buffer.getvalue(), f"x.{kind.lower()}")


def seen(image: ImageData) -> np.ndarray:
    """One channel of what is decoded, which must be grey."""
    pixels = np.asarray(decode(image))
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


# Pillow writes a PGM of 16 bits with a greatest value of 65535.
@pytest.mark.parametrize(
    ("bits", "kind"), [*((bits, kind) for bits in (8, 10, 12, 14, 16) for kind in ("PNG", "TIFF")), (16, "PPM")]
)
def test_integers_are_scaled_by_the_bits_that_hold_them(bits: int, kind: str) -> None:
    image = stored(np.rint(RAMP * ((1 << bits) - 1)).astype(np.uint16), kind)
    assert np.abs(seen(image).astype(int) - GREY).max() <= 1
    assert decode_noting(image)[1] == SIXTEEN_BIT


def test_a_dark_picture_of_sixteen_bits_is_not_made_a_light_one() -> None:
    assert seen(stored(np.rint(RAMP * 32767).astype(np.uint16))).max() == 127
    big = np.rint(RAMP * 65535).astype(">u2")
    picture = Image.frombytes("I;16B", (16, 16), big.tobytes())
    assert np.abs(seen(stored(picture, "TIFF")).astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(
    "values", [GREY, np.rint(RAMP * 4095).astype(np.uint16), RAMP.astype(np.float32)], ids=["8", "12", "float"]
)
def test_a_tiff_in_which_zero_is_white_is_turned_round(values: np.ndarray) -> None:
    content = stored(values, "TIFF").content
    black_is_zero, white_is_zero = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0))
    assert content.count(black_is_zero) == 1
    assert np.abs(seen(ImageData(content.replace(black_is_zero, white_is_zero))).astype(int) - (255 - GREY)).max() <= 1


@pytest.mark.parametrize("low, high", [(-1000, 3000), (0, 2_000_000)])  # noqa: PT006
def test_integers_of_another_range_are_scaled_by_it(low: int, high: int) -> None:
    image = stored(np.rint(low + RAMP * (high - low)).astype(np.int32), "TIFF")
    assert np.abs(seen(image).astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 5.0), (0.0, 255.0), (100.0, 4000.0)])
def test_floats_are_scaled_by_their_range(low: float, high: float) -> None:
    image = stored((low + RAMP * (high - low)).astype(np.float32), "TIFF")
    assert np.abs(seen(image).astype(int) - GREY).max() <= 1
    assert decode_noting(image)[1] == FLOAT


def test_floats_from_nought_to_one_keep_their_brightness() -> None:
    assert set(np.unique(seen(stored(np.full((4, 4), 0.5, np.float32), "TIFF")))) == {128}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full((4, 4), 7.5), "every pixel is 7.5"),
        (np.full((4, 4), np.nan), "no numbers"),
        (np.where(RAMP > 0.5, np.inf, RAMP), "no numbers"),
    ],
)
def test_floats_without_a_range_are_refused(values: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=f"x.tiff.*{said}"):
        decode(stored(values.astype(np.float32), "TIFF"))


def drawing(mode: str) -> Image.Image:
    """A black square on a clear ground of which every mode has another colour below."""
    ink = Image.new("L", (16, 16), 0)
    ink.paste(255, (4, 4, 12, 12))
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    clear.putalpha(ink)
    if mode == "P":
        palette = Image.new("P", (16, 16), 0)
        palette.putpalette([255, 0, 0, 0, 0, 0])
        palette.paste(1, (4, 4, 12, 12))
        palette.info["transparency"] = 0
        return palette
    if mode == "L+colour":
        grey = Image.new("L", (16, 16), 9)
        grey.paste(0, (4, 4, 12, 12))
        grey.info["transparency"] = 9
        return grey
    return clear.convert(mode)


EXPECTED = np.full((16, 16), 255, np.uint8)
EXPECTED[4:12, 4:12] = 0


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("L+colour", "PNG"),
        ("RGBA", "TIFF"),
        ("RGBA", "WEBP"),
    ],
)
def test_what_is_transparent_lies_on_white(mode: str, kind: str) -> None:
    picture = drawing(mode)
    saving: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    if "transparency" in picture.info:
        saving["transparency"] = picture.info["transparency"]
    image = stored(picture, kind, **saving)
    assert (seen(image) == EXPECTED).all()
    assert decode_noting(image)[1] == TRANSPARENT


def test_half_transparent_pixels_are_mixed_and_opaque_ones_left_alone() -> None:
    assert set(np.unique(seen(stored(Image.new("RGBA", (4, 4), (0, 0, 0, 51)))))) == {204}
    image = stored(Image.new("RGBA", (4, 4), (10, 20, 30, 255)))
    picture, converted = decode_noting(image)
    assert (picture.getpixel((0, 0)), converted) == ((10, 20, 30), None)


def test_a_transparent_value_among_sixteen_bits() -> None:
    values = np.rint(RAMP * 4095).astype(np.uint16)
    values[0] = 65535
    pixels = seen(stored(values, transparency=65535))
    assert (pixels[0] == 255).all()
    assert np.abs(pixels[1:].astype(int) - GREY[1:]).max() <= 1


@pytest.mark.parametrize("colour", [(255, 0, 0, 0), (255, 255, 255, 90)])
def test_a_picture_that_shows_nothing_is_refused(colour: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"x\.png shows nothing"):
        decode(stored(Image.new("RGBA", (4, 4), colour)))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "PNG"),
        ("1", "PNG"),
        ("P", "PNG"),
        ("RGB", "PNG"),
        ("CMYK", "JPEG"),
        ("YCbCr", "JPEG"),
        ("CMYK", "TIFF"),
        ("YCbCr", "TIFF"),
        ("RGB", "WEBP"),
        ("P", "GIF"),
        ("RGB", "BMP"),
        ("RGB", "ICO"),
    ],
)
def test_modes_that_need_no_care_look_as_they_are(mode: str, kind: str) -> None:
    grey = np.where(GREY > 127, 255, 0).astype(np.uint8)
    picture, converted = decode_noting(stored(Image.fromarray(grey).convert("RGB").convert(mode), kind))
    assert np.abs(np.asarray(picture.convert("L")).astype(int) - grey).mean() < 12
    assert converted is None


def test_a_build_counts_rows_by_what_was_converted(tmp_path: Path) -> None:
    images = {
        "plain.png": stored(GREY),
        "scan.png": stored(np.rint(RAMP * 65535).astype(np.uint16)),
        "depth.tif": stored((RAMP * 9).astype(np.float32), "TIFF"),
        "drawing.png": stored(drawing("RGBA")),
        "clear.png": stored(Image.new("RGBA", (4, 4), (0, 0, 0, 0))),
    }
    for name, image in images.items():
        (tmp_path / name).write_bytes(image.content)
    cells = [[name] for name in images] + [["scan.png", "drawing.png", "scan.png"]]
    rows = [
        {"images": names, "prompt": "What?", "chosen": f"It is {index}.", "rejected": "Nothing."}
        for index, names in enumerate(cells)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    recipe = BuildRecipe(None, str(tmp_path / "rows.json"), "mix", block_size=2)
    manifest = build_dataset(recipe, tmp_path / "run")
    counted = {f"{FLOAT}_images": 1, f"{SIXTEEN_BIT}_images": 2, f"{TRANSPARENT}_images": 2}
    assert manifest["counts"] == {"rows": 5, "skipped": {"bad-image": 1}, "changed": counted}
    for index in (2, 0, 1):
        build_dataset(recipe, tmp_path / "shards", shard=(index, 3))
    for run in ("run", "shards"):
        assert json.loads((tmp_path / run / "report.json").read_text())["changed"] == counted
    assert dict(summary_rows(manifest))["rows changed"] == "2 16-bit images, 1 float images, 2 transparent images"
