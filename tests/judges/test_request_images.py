"""Images as servers get them: what a loaded model would see."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import pytest
from PIL import Image

from mmpref.images import decode
from mmpref.judges.chat import ChatSettings, Query
from mmpref.judges.endpoint import Endpoint
from mmpref.judges.request_images import data_url, image_digest
from mmpref.types import ImageData, Message
from tests.judges.server import ChatServer


def encoded(form: str, mode: str = "RGB", **options: Any) -> ImageData:
    picture = Image.new(mode, (8, 4))
    picture.paste(picture.getpixel((0, 0)), (0, 0, 4, 4))
    for x in range(4):
        picture.putpixel((x, 0), {"RGB": (200, 30, 30), "RGBA": (9, 9, 9, 255), "CMYK": (9, 90, 9, 0)}.get(mode, 40000))
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return ImageData(buffer.getvalue(), f"x.{form.lower()}")


def turned() -> ImageData:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


def moving() -> ImageData:
    other = Image.new("RGB", (8, 4), "blue")
    return encoded("GIF", save_all=True, append_images=[other])


CASES = {
    "turned": turned(),
    "16 bit": encoded("PNG", "I;16"),
    "transparent": encoded("PNG", "RGBA"),
    "CMYK": encoded("JPEG", "CMYK"),
    "animation": moving(),
    "TIFF": encoded("TIFF"),
    "animated PNG": encoded("PNG", save_all=True, append_images=[Image.new("RGB", (8, 4), "blue")]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_server_sees_what_the_loaded_model_sees(name: str) -> None:
    with ChatServer(lambda *_: "ok") as server:
        Endpoint(server.url, "m", ChatSettings(retries=0)).ask([Query((Message("user", "?"),), (CASES[name],))])
        url = server.requests[0]["messages"][0]["content"][0]["image_url"]["url"]
    head, _, content = url.partition(",")
    assert head == "data:image/png;base64"
    sent, seen = Image.open(io.BytesIO(base64.b64decode(content))), decode(CASES[name])
    assert (sent.mode, sent.size, sent.tobytes()) == ("RGB", seen.size, seen.tobytes())
    assert getattr(sent, "n_frames", 1) == 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_an_image_that_is_as_it_is_seen_goes_as_it_is(form: str) -> None:
    image = encoded(form)
    content = base64.b64decode(data_url(image).partition(",")[2])
    assert content == image.content
    assert image_digest(image) == hashlib.sha256(image.content).hexdigest(), "kept replies of before are found"


def test_replies_are_kept_by_what_is_shown() -> None:
    assert image_digest(turned()) != hashlib.sha256(turned().content).hexdigest()
    assert image_digest(CASES["16 bit"]) == image_digest(ImageData(CASES["16 bit"].content, "another name"))
    assert len({image_digest(image) for image in CASES.values()}) >= 4
    assert image_digest(ImageData(b"broken")) == hashlib.sha256(b"broken").hexdigest()
