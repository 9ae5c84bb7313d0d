"""What image files carry beside their pixels: whether that is a place, and files without it.

Metadata is taken out of JPEG, PNG and WebP files by their segments and chunks, and nothing is encoded anew: colour
profiles stay, since they say what the pixels mean, and so does the camera's orientation, alone in an EXIF block of its
own. All other text, thumbnails, blocks of makers and whatever lies behind the image's end go.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmpref.log import counted

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION, _GPS, _LATITUDE, _LONGITUDE = 0x0112, 0x8825, 2, 4  # tags of EXIF
_XMP_PLACE = b"GPSLatitude"
_MARKS = (b"Exif", b"eXIf", b"EXIF", b"Raw profile type")
_TIFF = (b"II*\0", b"MM\0*")
"""Any file with EXIF has one of these in it, or begins with one of those: a place is looked for only there."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA  # markers of JPEG
_APPLICATION = range(0xE0, 0xF0)
_COMMENT = 0xFE
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))
_KEPT_SEGMENTS = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Application segments that say how pixels are meant, by their marker and how they begin."""
_JFIF, _JFIF_BODY = 0xE0, 12
"""JFIF's marker, and the bytes of its segment before the size of a thumbnail (two bytes) and the thumbnail."""
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""The end of a scan's own bytes, in which 0xff is followed by 0x00 or a restart marker."""
_KEPT_CHUNKS = frozenset(b"tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD pHYs hIST sPLT acTL fcTL fdAT".split())
"""Of PNG, beside the critical ones."""
_KEPT_IN_WEBP = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_HAS_EXIF, _HAS_XMP = 0x08, 0x04  # flags of VP8X


def has_position(content: bytes) -> bool:
    """Whether an encoded image says where it was taken: EXIF's or XMP's latitude and longitude. Read from its head; no
    pixel is decoded, but of a PNG whose EXIF block stands behind them."""
    if _XMP_PLACE in content:
        return True
    if not (content.startswith(_TIFF) or any(mark in content for mark in _MARKS)):
        return False
    try:
        with _opened(content) as opened:
            place = opened.getexif().get_ifd(_GPS)
    except Exception:  # Pillow's parsers raise whatever broken bytes lead them to.
        return False
    return _LATITUDE in place and _LONGITUDE in place


def positions_told(with_position: int, images: int) -> list[str]:
    """What to say of a dataset with such images; nothing of one without.

    Args:
        images: how many there are in all.
    """
    if not with_position:
        return []
    return [
        f"{with_position:,} of {counted(images, 'image')} say where they were taken (GPS), and so does whatever is "
        "published of them. Build the dataset with --strip-metadata to leave that out."
    ]


def without_metadata(content: bytes) -> bytes | None:
    """An encoded image without its metadata; the same bytes where it has none.

    What `mmpref.images.decode` makes of both is equal, pixel by pixel, where it can decode the first.

    Returns:
        None for a file that is neither JPEG, PNG nor WebP, or is broken.
    """
    if content.startswith(_JPEG):
        parts = _jpeg_parts
    elif content.startswith(_PNG):
        parts = _png_parts
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        parts = _webp_parts
    else:
        return None
    try:
        return b"".join(parts(content, _orientation(content)))
    except Exception:  # Pillow's parsers raise whatever broken bytes lead them to.
        return None


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """By Pillow, which warns of what it makes do with: whoever decodes the image tells what is wrong with it."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content)) as opened:
            yield opened


def _orientation(content: bytes) -> int:
    """As Pillow finds it, in EXIF or XMP, when it decodes the image; 1 where it is upright.

    Raises:
        Exception: of any kind, where it cannot be decoded.
    """
    with _opened(content) as opened:
        if opened.format == "PNG":  # it may stand behind the pixels
            opened.load()
        orientation = opened.getexif().get(_ORIENTATION, 1)
    return orientation if orientation in range(2, 9) else 1


def _exif(orientation: int) -> bytes:
    """A block with this one entry."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, _ORIENTATION, 3, 1, orientation, 0, 0)


def _jpeg_parts(content: bytes, orientation: int) -> Iterator[bytes]:
    yield content[:2]
    turned = b"Exif\0\0" + _exif(orientation) if orientation > 1 else b""
    place = 2
    while place < len(content):
        begin = place
        if content[place] != 0xFF:
            raise ValueError("no marker where a segment of the file ends")
        while content[place + 1] == 0xFF:  # fill bytes
            place += 1
        marker = content[place + 1]
        if marker in _WITHOUT_LENGTH or marker == _END_OF_IMAGE:
            place += 2
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4])
        is_extra = marker in _APPLICATION or marker == _COMMENT
        body = content[begin:place].lstrip(b"\xff")[3:]
        if turned and marker != 0xE0:  # JFIF's segment is the first one
            yield _segment(0xE1, turned)
            turned = b""
        if not is_extra or body.startswith(_KEPT_SEGMENTS.get(marker, b"no such")):
            has_thumbnail = marker == _JFIF and body[_JFIF_BODY:] not in (b"\0\0", b"")
            yield _segment(_JFIF, body[:_JFIF_BODY] + b"\0\0") if has_thumbnail else content[begin:place]
        if marker == _END_OF_IMAGE:
            return
        if marker == _START_OF_SCAN:
            found = _NEXT_MARKER.search(content, place)
            end = found.start() if found else len(content)
            yield content[place:end]
            place = end


def _segment(marker: int, body: bytes) -> bytes:
    """Of a JPEG file."""
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def _png_parts(content: bytes, orientation: int) -> Iterator[bytes]:
    yield content[: len(_PNG)]
    place = len(_PNG)
    while place < len(content):
        length, name = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        end = place + 12 + length
        if name[:1].isupper() or name in _KEPT_CHUNKS:
            yield content[place:end]
        if name == b"IHDR" and orientation > 1:
            body = b"eXIf" + _exif(orientation)
            yield (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
        if name == b"IEND":
            return
        place = end


def _webp_parts(content: bytes, orientation: int) -> Iterator[bytes]:
    chunks, place = [], 12
    end = min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    while place < end:
        name, length = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        chunk = content[place : place + 8 + length + length % 2]
        if name == b"VP8X":
            flags = chunk[8] & ~(_HAS_EXIF | _HAS_XMP) | (_HAS_EXIF if orientation > 1 else 0)
            chunk = chunk[:8] + bytes([flags]) + chunk[9:]
        if name in _KEPT_IN_WEBP:
            chunks.append(chunk)
        place += 8 + length + length % 2
    if orientation > 1:
        chunks.append(b"EXIF" + len(_exif(orientation)).to_bytes(4, "little") + _exif(orientation))
    body = b"WEBP" + b"".join(chunks)
    yield b"RIFF" + len(body).to_bytes(4, "little") + body
