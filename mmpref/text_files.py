"""The one door for text files of users and packages: encodings and line ends are dealt with here and nowhere else.

UTF-8 with or without a byte order mark, and UTF-16 or UTF-32 with one, are read; whatever ends a line reads as ``\\n``.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from mmpref.errors import InputError, reason_of

# UTF-32's mark for little ends begins with UTF-16's: the longer ones stand first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


NOT_JSON = (ValueError, RecursionError)
"""What `json.loads` raises: the second for brackets in brackets beyond Python's stack."""


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark, every line ended by ``\\n``.

    Raises:
        InputError: the file cannot be read, or is not text: the message names the file and the first wrong byte.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from error
    return text_of_bytes(content, str(path))


def read_json(path: Path) -> Any:
    """The value that a JSON file holds.

    Raises:
        InputError: the file cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except NOT_JSON as error:
        raise InputError(f"{path} is not JSON: {reason_of(error).rstrip('.')}.") from error


def lines_of(text: str) -> list[str]:
    """The lines of a text that `read_text` gave, without their ends. `str.splitlines` would end some within values of
    JSON, which may hold U+2028 and its like as they are."""
    return text.removesuffix("\n").split("\n") if text else []


def text_of_bytes(content: bytes, name: str) -> str:
    """The text of bytes that a file of that name holds.

    Raises:
        InputError: they are not text.
    """
    try:
        text = content.decode(_encoding_of(content))
    except UnicodeDecodeError as error:
        raise _not_text(name, error.encoding, error.start, 1 + _line_ends(error), error.reason) from error
    if "\0" in text:
        at, line = content.index(b"\0"), 1 + _one_end(text[: text.index("\0")]).count("\n")
        raise _not_text(name, "utf-8", at, line, "a NUL; this is UTF-16 without its byte order mark, or no text at all")
    return _one_end(text)


@contextlib.contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A text file, packed by gzip or not, opened for reading line by line: for those too large to be read whole.

    Args:
        newline: as of `open`.

    Raises:
        InputError: while it is read, something is found that is not text.
        OSError: it cannot be opened or read.
    """
    with _open_bytes(path) as opened:
        encoding = _encoding_of(opened.read(4))
    with _open_bytes(path) as opened, io.TextIOWrapper(opened, encoding=encoding, newline=newline) as text:
        try:
            yield text
        except UnicodeDecodeError as error:
            raise _not_text(str(path), encoding, *_first_wrong(path, encoding), error.reason) from error


def _open_bytes(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb"))


def _encoding_of(start: bytes) -> str:
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")


def _one_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line_ends(error: UnicodeDecodeError) -> int:
    """How many lines end before what cannot be decoded."""
    return _one_end(error.object[: error.start].decode(error.encoding, "replace")).count("\n")


def _first_wrong(path: Path, encoding: str) -> tuple[int, int]:
    """Byte and line (from 1) in the file of what cannot be decoded first: a stream's error counts from its buffer."""
    decoder, one_end = codecs.getincrementaldecoder(encoding)(), io.IncrementalNewlineDecoder(None, translate=True)
    read, line = 0, 1
    with _open_bytes(path) as opened:
        while block := opened.read(1 << 16):
            waiting = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(error.encoding, "replace")
                return read - waiting + error.start, line + one_end.decode(before, final=True).count("\n")
            read, line = read + len(block), line + one_end.decode(text).count("\n")
    return read - len(decoder.getstate()[0]), line + one_end.decode("", final=True).count("\n")


def _not_text(name: str, encoding: str, at: int, line: int, reason: str) -> InputError:
    what = encoding.upper().removesuffix("-SIG")
    return InputError(
        f"{name} is not {what} text: byte {at}, in line {line}, is wrong ({reason}).", "Save it as UTF-8."
    )
