"""Rows of JSON, CSV, Parquet and Arrow files, streamed; an error names the file and the line or row."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from mmpref.errors import InputError, brief, reason_of, row_at
from mmpref.run.files import content_address
from mmpref.tables import _coco, _index
from mmpref.tables._tar import read_tar
from mmpref.text_files import open_text

_FORMS = "A file holds one JSON array of rows, or one JSON object a line."
_LONGEST_CELL = 200_000_000
"""Characters of a CSV cell, which may be an image in base64."""
_LONGEST_LINE = 500_000_000
"""Characters of a line of JSON: a packed file may unpack to more than any memory holds."""
_ROWS = 64
"""Rows of a Parquet or Arrow file that are in memory at a time."""
_ARROW_FILE = b"ARROW1"
_NO_CELL = ("", "NaN")
_GAP = re.compile(r"\s*")
_BUFFER = 1 << 20
"""Bytes of a Parquet column, or characters of a JSON array, that are read at a time. Arrow's own way, reading ahead,
keeps much of a file in memory."""


def read_files(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """All rows of the files, in order.

    Raises:
        InputError: a file that is broken or cannot be opened.
    """
    for file in files:
        try:
            yield from _reader_of(file)(file)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{file} cannot be read: {getattr(error, 'strerror', None) or _line(error)}.") from error


def _reader_of(file: Path) -> Callable[[Path], Iterator[dict[str, Any]]]:
    ending = file.name.lower().removesuffix(".gz").rpartition(".")[2]
    return _READERS.get(ending, _read_json)


def _read_csv(file: Path) -> Iterator[dict[str, Any]]:
    """Rows under a header; an empty cell, or one of pandas' ``NaN``, is None. A column without a name is pandas' index,
    and left out."""
    csv.field_size_limit(_LONGEST_CELL)
    with open_text(file, newline="") as opened:
        header = opened.readline()
        opened.seek(0)
        tabs = file.name.lower().removesuffix(".gz").endswith(".tsv")
        # Of another country, or a spreadsheet's "Unicode text"; the first of those that are as frequent.
        delimiter = "\t" if tabs else max(",;\t", key=header.count)
        by_hand = f"{delimiter} " in header  # a space after each comma is none of the text's, and quotes may follow it
        lines = csv.reader(opened, delimiter=delimiter, strict=True, skipinitialspace=by_hand)
        try:
            names = [name.strip() for name in next(lines, [])]
            if twice := [name for name in names if name and names.count(name) > 1]:
                raise InputError(f"{file} has two columns {twice[0][:60]!r}.")
            for cells in lines:
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise InputError(
                        f"{file}, line {lines.line_num} has {len(cells)} cells; the header has {len(names)}.",
                        "Text with commas or line ends stands in quotes.",
                    )
                values = (None if cell in _NO_CELL else cell for cell in cells)
                yield {name: value for name, value in zip(names, values, strict=True) if name}
        except csv.Error as error:
            raise InputError(f"{file}, line {lines.line_num} is not CSV: {_line(error)}.") from error


def _read_parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER) as opened:
            for batch in opened.iter_batches(batch_size=_ROWS):
                batch.validate(full=True)
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read as Parquet: {_line(error)}.") from error


def _read_arrow(file: Path) -> Iterator[dict[str, Any]]:
    """A stream, as the ``datasets`` library writes it, or a file with an index (Feather)."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as opened:
            indexed = opened.read(len(_ARROW_FILE)) == _ARROW_FILE
            opened.seek(0)
            reader = pa.ipc.open_file(opened) if indexed else pa.ipc.open_stream(opened)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if indexed else reader
            for batch in batches:
                batch.validate(full=True)  # offsets that lead out of the file would end the process
                for start in range(0, batch.num_rows, _ROWS):
                    yield from batch.slice(start, _ROWS).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read as Arrow: {_line(error)}.") from error


def _read_json(file: Path) -> Iterator[dict[str, Any]]:
    """One JSON array of rows, or one row a line."""
    with open_text(file, newline="") as opened:
        first = opened.read(1)
        while first.isspace():
            first = opened.read(1)
        if not first:
            return
        opened.seek(0)
        if first == "[":
            yield from _Array(file, opened).rows()
        else:
            begun = False
            for number, line in enumerate(iter(lambda: opened.readline(_LONGEST_LINE), ""), 1):
                if len(line) == _LONGEST_LINE:
                    raise InputError(f"{file}, line {number} has more than {_LONGEST_LINE:,} characters.")
                if not line.strip():
                    continue
                if not begun and not line.rstrip().endswith("}") and (content := _whole_object(file)):
                    yield from _of_object(content, file)
                    return
                row = _parsed_line(file, number, line)
                yield from [row] if begun else _rows_in(row, file) or [row]
                begun = True


def _parsed_line(file: Path, number: int, line: str) -> dict[str, Any]:
    where = f"{file}, line {number}"
    try:
        return _row(json.loads(line), where)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {_line(error)}.", _FORMS) from error


def _whole_object(file: Path) -> dict[str, Any]:
    """The JSON object that a file holds over several lines; empty where it holds something else."""
    try:
        with open_text(file, newline="") as opened:
            content = json.loads(opened.read())
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _rows_in(content: dict[str, Any], file: Path) -> Iterator[dict[str, Any]] | None:
    """The rows of a file that is one JSON object of a form that is known; None for any other object."""
    if _coco.is_coco(content):
        return _coco.rows_of(content, str(file))
    if _index.is_index(content):
        return _index.rows_of(content, file, _parsed_line)
    if _is_by_image(content):
        return ({"image_id": key, **row} for key, rows in content.items() for row in rows)
    return None


def _is_by_image(content: dict[str, Any]) -> bool:
    """Whether an object holds lists of rows by the number of their image (SENTINEL)."""
    return bool(content) and all(
        key.isdecimal() and isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
        for key, rows in content.items()
    )


def _of_object(content: dict[str, Any], file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file that is one JSON object over several lines.

    Raises:
        InputError: none of a form that is known; it says where rows may be.
    """
    if rows := _rows_in(content, file):
        yield from rows
        return
    lists = [name for name, value in content.items() if isinstance(value, list)]
    inside = f" Its lists are {brief(', '.join(map(str, lists)), 200)}: save one of them as the file." if lists else ""
    raise InputError(f"{file} is one JSON object over several lines, not rows.", _FORMS + inside)


class _Array:
    """The rows of a JSON array, decoded one by one; of the text no more is held than the row that is read needs."""

    def __init__(self, file: Path, opened: TextIO) -> None:
        self._file, self._opened = file, opened
        self._text, self._at = "", 0
        self._lines, self._number = 1, 0
        """The line on which the text that is held begins, and how many rows were read."""

    def rows(self) -> Iterator[dict[str, Any]]:
        self._next()
        self._at += 1  # the bracket
        while self._next() != "]":
            yield _row(self._value(), f"{self._file}, {row_at(self._number)}")
            self._number += 1
            after = self._next()
            if after == ",":
                self._at += 1
            elif after != "]":
                raise self._broken(self._at, "the array is cut off" if not after else f"found {after!r}")
        self._at += 1
        if self._next():
            raise self._broken(self._at, "text after the end of the array")

    def _next(self) -> str:
        """The next character that is no white space; none at the end."""
        while True:
            self._at = _GAP.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing too
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def _value(self) -> Any:
        decoder = json.JSONDecoder()
        while True:
            try:
                value, self._at = decoder.raw_decode(self._text, self._at)
                return value
            except (ValueError, RecursionError) as error:
                # Whether it is broken or goes on in the file is not to be told apart before the end.
                position = getattr(error, "pos", self._at) - self._at
                if len(self._text) - self._at > _LONGEST_LINE or not self._read_on():
                    raise self._broken(self._at + position, _reason(error)) from error

    def _read_on(self) -> bool:
        """Hold more: twice as much, so that a long row is not decoded from its start too often."""
        self._lines += self._text.count("\n", 0, self._at)
        held = self._text[self._at :]
        more = self._opened.read(max(_BUFFER, len(held)))
        self._text, self._at = held + more, 0
        return bool(more)

    def _broken(self, position: int, reason: str) -> InputError:
        line = self._lines + self._text.count("\n", 0, position)
        return InputError(f"{self._file}, line {line}, {row_at(self._number)}, is not JSON: {reason}.")


def _row(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is a {type(value).__name__}, not a row (a JSON object).")
    return value


def _line(error: Exception) -> str:
    return reason_of(error).rstrip(".")


def _reason(error: Exception) -> str:
    """What is wrong with JSON, without its place: that counts from where the text that is held begins."""
    return error.msg if isinstance(error, json.JSONDecodeError) else _line(error)


def content_hash(files: Iterable[Path], root: Path) -> str:
    """``sha256:...`` over the files' paths under the root and their contents.

    Raises:
        InputError: a file that cannot be read.
    """
    digests = []
    for file in files:
        try:
            with open(file, "rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}.") from error
        digests.append((str(file.relative_to(root)), content))
    return content_address(digests)


_READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "csv": _read_csv,
    "tsv": _read_csv,
    "tar": read_tar,
}
"""Readers by the ending of a file, without ``.gz``; all others are JSON."""
