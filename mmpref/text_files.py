"""Text files, whatever wrote them: with or without a byte-order mark, with any line ends."""

from __future__ import annotations

import codecs
from pathlib import Path

from mmpref.errors import InputError


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or, with its byte-order mark, UTF-16; lines end with a line feed.

    Raises:
        InputError: it cannot be read, or is no such text.
    """
    try:
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.",
                         "Save it as UTF-8.") from error  # fmt: skip
    return text.replace("\r\n", "\n").replace("\r", "\n")
