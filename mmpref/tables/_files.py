"""Rows of JSON, CSV, Parquet and Arrow files, streamed; an error names the file and the line or row."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mmpref.errors import InputError, reason_of
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
_GAP = re.compile(r"\s*")
_BUFFER = 1 << 20
"""Bytes of a Parquet column that are read at a time. Arrow's own way, reading ahead, keeps much of a file in memory."""


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
    """Rows under a header; an empty cell is None. A column without a name is pandas' index, and left out."""
    csv.field_size_limit(_LONGEST_CELL)
    with open_text(file, newline="") as opened:
        header = opened.readline()
        opened.seek(0)
        tabs = file.name.lower().removesuffix(".gz").endswith(".tsv")
        delimiter = "\t" if tabs else ";" if ";" in header and "," not in header else ","
        lines = csv.reader(opened, delimiter=delimiter, strict=True)
        try:
            names = next(lines, [])
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
                yield {name: cell or None for name, cell in zip(names, cells, strict=True) if name}
        except csv.Error as error:
            raise InputError(f"{file}, line {lines.line_num} is not CSV: {_line(error)}.") from error


def _read_parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER) as opened:
            for batch in opened.iter_batches(batch_size=_ROWS):
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
            yield from _array(file, opened.read())
        else:
            for number, line in enumerate(iter(lambda: opened.readline(_LONGEST_LINE), ""), 1):
                if len(line) == _LONGEST_LINE:
                    raise InputError(f"{file}, line {number} has more than {_LONGEST_LINE:,} characters.")
                if line.strip():
                    yield _parsed_line(file, number, line)


def _parsed_line(file: Path, number: int, line: str) -> dict[str, Any]:
    where = f"{file}, line {number}"
    try:
        return _row(json.loads(line), where)
    except (ValueError, RecursionError) as error:
        if line.strip() == "{" and _is_object(file):
            raise InputError(f"{file} is one JSON object over several lines, not rows.", _FORMS) from error
        raise InputError(f"{where} is not JSON: {_line(error)}.", _FORMS) from error


def _is_object(file: Path) -> bool:
    try:
        with open_text(file, newline="") as opened:
            return isinstance(json.loads(opened.read()), dict)
    except (ValueError, RecursionError):
        return False


def _array(file: Path, text: str) -> Iterator[dict[str, Any]]:
    """Decode element by element: the text is in memory, the rows are not."""
    decoder = json.JSONDecoder()
    position = _skip(text, text.index("[") + 1)
    number = 0
    while text[position : position + 1] != "]":
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _broken(file, text, getattr(error, "pos", position), number, _line(error)) from error
        yield _row(value, f"{file}, row {number}")
        number += 1
        position = _skip(text, position)
        after = text[position : position + 1]
        if after not in (",", "]"):
            raise _broken(file, text, position, number, "the array is cut off" if not after else f"found {after!r}")
        if after == ",":
            position = _skip(text, position + 1)
    if _skip(text, position + 1) != len(text):
        raise _broken(file, text, position + 1, number, "text after the end of the array")


def _skip(text: str, position: int) -> int:
    gap = _GAP.match(text, position)
    return gap.end() if gap else position


def _broken(file: Path, text: str, position: int, number: int, reason: str) -> InputError:
    line = text.count("\n", 0, position) + 1
    return InputError(f"{file}, line {line} (row {number}) is not JSON: {reason}.")


def _row(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is a {type(value).__name__}, not a row (a JSON object).")
    return value


def _line(error: Exception) -> str:
    return reason_of(error).rstrip(".")


def content_hash(files: Iterable[Path], root: Path) -> str:
    """``sha256:...`` over the files' paths under the root and their contents.

    Raises:
        InputError: a file that cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            with open(file, "rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}.") from error
        digest.update(f"{file.relative_to(root)}\0{content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


_READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "csv": _read_csv,
    "tsv": _read_csv,
    "tar": read_tar,
}
"""Readers by the ending of a file, without ``.gz``; all others are JSON."""
