"""Images as servers get them: what a model that is loaded here would see of them, upright, RGB, their first frame.

Servers differ in what they make of EXIF, 16 bits, transparency, CMYK and animations, so that such images are sent as
PNG of what `mmpref.images.decode` gives; others go as they are.
"""

from __future__ import annotations

import base64
import hashlib
import io
from functools import lru_cache

from mmpref.errors import ImageError
from mmpref.images import decode
from mmpref.types import ImageData

_MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_CACHED = 32
"""Images that are held ready: those of the requests in flight, about."""


def data_url(image: ImageData) -> str:
    """An image as it is sent.

    Raises:
        ImageError: it cannot be decoded, or has too many pixels.
    """
    mime, content, _ = _encoded(image)
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def image_digest(image: ImageData) -> str:
    """SHA-256 of what is shown: of the bytes, or where these are not sent of the pixels, so that it is the same
    wherever they are encoded; of an image that cannot be decoded, of its bytes."""
    try:
        return _encoded(image)[2]
    except ImageError:
        return image.sha256.hex()


@lru_cache(_CACHED)
def _encoded(image: ImageData) -> tuple[str, bytes, str]:
    """Media type, bytes, and the digest."""
    from PIL import Image

    picture = decode(image)
    pixels = picture.tobytes()
    with Image.open(io.BytesIO(image.content)) as opened:
        mime = _MEDIA_TYPES.get(opened.format or "")
        plain = opened.mode == "RGB" and getattr(opened, "n_frames", 1) == 1 and opened.size == picture.size
        if mime and plain and opened.tobytes() == pixels:
            return mime, image.content, image.sha256.hex()
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    pixels_digest = hashlib.sha256(f"RGB {picture.width}x{picture.height} ".encode() + pixels).hexdigest()
    return "image/png", buffer.getvalue(), pixels_digest
