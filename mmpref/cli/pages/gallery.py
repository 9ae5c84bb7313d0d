"""A page of pairs that opens without network: one file, whose script shows a page of thousands of rows at a time."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.cli import common
from mmpref.cli.pages.html import marked, render
from mmpref.data.inspect import NOTES, PROBLEMS, Sample
from mmpref.images import decode
from mmpref.types import ImageData
from mmpref.words import words

THUMBNAIL = 224
"""Pixels of the longer side."""

_SCRIPT = Path(__file__).with_name("templates") / "gallery.js"


class Gallery:
    """Rows for the page, added one by one; of their images only thumbnails are held, each once.

    Args:
        limit: rows that are taken, at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rows: list[dict[str, Any]] = []
        self._thumbnails: dict[bytes, int] = {}
        self._images: list[str] = []

    def add(self, sample: Sample) -> None:
        """Take a row, if there is room."""
        if len(self._rows) >= self.limit:
            return
        self._rows.append(
            {
                "n": sample.number,
                "i": [self._image(image) for image in sample.images],
                **({"a": sample.image_names} if sample.image_names else {}),
                "p": sample.prompt,
                **({"k": sample.context} if sample.context else {}),
                "c": marked(sample.rejected, sample.chosen),
                "r": marked(sample.chosen, sample.rejected),
                "w": len(words(sample.chosen)) + len(words(sample.rejected)),
                "m": sample.method,
                "f": sample.source,
                "s": sample.similarity,
                "d": round(sample.differing, 4),
                "x": sample.problems,
                "o": sample.notes,
            }
        )

    def write(self, path: Path, report: Mapping[str, Any], lines: Sequence[tuple[str, str]]) -> None:
        """Write the page.

        Args:
            report: as `mmpref.data.inspect.inspect` makes it.
            lines: its statistics, by name.
        """
        script = _SCRIPT.read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        data = json.dumps({"rows": self._rows, "images": self._images}, ensure_ascii=False, separators=(",", ":"))
        page = render(
            "inspect.html.j2",
            report=report,
            lines=lines,
            sections=[("Problems", report["problems"], PROBLEMS), ("Notes", report["notes"], NOTES)],
            rows=len(self._rows),
            script=script,
            digest=digest,
            data=_inert(data),
        )
        common.write_page(path, page)

    def _image(self, image: ImageData) -> int:
        key = image.sha256
        if key not in self._thumbnails:
            self._thumbnails[key] = len(self._images)
            self._images.append(_thumbnail(image))
        return self._thumbnails[key]


def _inert(data: str) -> str:
    """JSON that cannot end the element it stands in, nor begin a comment there."""
    return data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _thumbnail(image: ImageData) -> str:
    """A data URL: JPEG where the image had to be made smaller, PNG where it is small anyway."""
    picture = decode(image)
    kind = "jpeg" if max(picture.size) > THUMBNAIL else "png"
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, kind.upper(), quality=78)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
