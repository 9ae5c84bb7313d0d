"""Pictures of a card carry nothing but pixels."""

from __future__ import annotations

import io

from PIL import Image

from mmpref.hub.cards.pictures import small_pictures
from mmpref.types import ImageData


def test_what_a_source_says_beside_its_pixels_is_not_published() -> None:
    source, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = "described"
    Image.new("RGB", (400, 300)).save(source, "JPEG", comment=b"of someone", exif=exif, dpi=(7, 7))
    assert b"of someone" in source.getvalue()
    [content] = small_pictures(1, [ImageData(source.getvalue(), "x.jpg")]).values()
    assert b"of someone" not in content
    assert b"described" not in content
    assert "comment" not in Image.open(io.BytesIO(content)).info
