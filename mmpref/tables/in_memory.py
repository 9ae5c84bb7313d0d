"""Rows in memory as tables: a ``datasets.Dataset``, a pandas frame, or an iterable of dicts, named by their content."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmpref.errors import InputError, row_at
from mmpref.run.asked import IN_MEMORY
from mmpref.tables.cells import IMAGES, plain_name
from mmpref.tables.image_cells import is_embedded
from mmpref.tables.table import Row, Table

MEMORY = "memory:"
"""What the spec of such a table begins with, and the name of a model in memory; 16 hexadecimal digits of its
content's hash follow."""
_TABLES: dict[str, Table] = {}
"""Those of this process, as long as it lives: a recipe is plain text, and names its tables."""


def is_in_memory(name: str) -> bool:
    """Whether it names a table or a model in memory, which has no files and no commit."""
    return name.startswith(MEMORY)


def is_table(value: Any) -> bool:
    """Whether a value holds rows itself, and is not the name of a table or a list of names."""
    if isinstance(value, str | bytes | Mapping):
        return _is_dataset_dict(value)
    if isinstance(value, list | tuple):
        return bool(value) and isinstance(value[0], Mapping) and not _is_dataset_dict(value[0])
    return isinstance(value, Iterator) or _is_frame(value) or _is_dataset(value) or _is_stream(value)


def spec_of(rows: Any, *, own_paths: bool = True) -> str:
    """The name under which `open_table` opens these rows in this process: the same for the same rows.

    Args:
        rows: a ``datasets.Dataset``, a pandas frame, or an iterable of dicts. Image cells are PIL images (kept without
            loss, as PNG), arrays of height x width (x channels), encoded bytes, or paths.
        own_paths: whether relative paths of images lie under the working directory, and under no image root.

    Raises:
        InputError: no rows, something that is no row, or an array that is no image.
    """
    read = _reader(rows, own_paths)
    lines = [_line(row) for row in read()]
    if not lines:
        raise InputError("The rows in memory are none.", "Give at least one row.")
    content = hashlib.sha256(b"".join(lines)).hexdigest()
    spec = MEMORY + content[:16]
    licence = " ".join((rows.info.license or "").split()) or None if _is_dataset(rows) or _is_stream(rows) else None
    _TABLES[spec] = Table(
        IN_MEMORY, "train", None, f"{IN_MEMORY}/sha256:{content}", licence, lambda: map(_with_images, read())
    )
    return spec


def open_memory(spec: str, split: str) -> Table:
    """The rows of that name, which are every split's.

    Raises:
        InputError: this process has none of that name.
    """
    if spec not in _TABLES:
        raise InputError(
            f"{spec} names rows in the memory of another process.",
            "Give mmpref the same rows again in this one, or save them to a file and name that.",
        )
    return replace(_TABLES[spec], split=split)


def _reader(rows: Any, own_paths: bool) -> Callable[[], Iterator[Row]]:
    """What gives the rows as often as they are asked for. Those of a dataset stay where they are."""
    if _is_dataset(rows):
        from mmpref.tables._datasets import undecoded

        return lambda: _plain_rows(undecoded(rows, [Path("/")]), own_paths)
    held = list(_plain_rows(rows.to_dict("records") if _is_frame(rows) else rows, own_paths))
    return lambda: iter(held)


def _line(row: Row) -> bytes:
    """A row's part in the hash of the content."""
    text = json.dumps(row, sort_keys=True, default=_digest)
    return hashlib.sha256(text.encode()).digest()


def _plain_rows(rows: Iterable[Any], own_paths: bool) -> Iterator[Row]:
    """Rows of plain values; images are encoded, and image files are paths until they are read."""
    if _is_dataset_dict(rows):
        raise InputError(f"These are several splits: {', '.join(rows)}.", "Give one of them, such as data['train'].")
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(
                f"{row_at(number).capitalize()} in memory is a {type(row).__name__}, not a mapping from columns to "
                "cells."
            )
        try:
            plain = {str(name): _plain(cell) for name, cell in row.items()}
        except ValueError as error:
            raise InputError(f"{row_at(number).capitalize()} in memory: {error}") from error
        yield {name: _files(cell, own_paths) if plain_name(name) in IMAGES else cell for name, cell in plain.items()}


def _plain(cell: Any) -> Any:
    """A cell as JSON has it, with bytes.

    Raises:
        ValueError: it is of a type that no row has.
    """
    if cell is None or isinstance(cell, str | bytes | bool | int | float):
        return cell
    if isinstance(cell, Mapping):
        return {str(name): _plain(value) for name, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [_plain(value) for value in cell]
    if isinstance(cell, Path):
        return str(cell)
    if hasattr(cell, "getbands"):  # a PIL image
        try:
            return {"bytes": _encoded(cell), "path": None}
        except Exception as error:  # whatever its decoder raises: the row is skipped, as one with such a file is
            return {"bytes": _file_of(cell, error), "path": None}
    if hasattr(cell, "ndim"):
        if cell.ndim == 0:
            return cell.item()
        return _plain(cell.tolist()) if cell.ndim == 1 else {"bytes": _encoded(_picture(cell)), "path": None}
    if cell != cell:
        return None
    if type(cell).__module__.partition(".")[0] in ("pandas", "datetime", "decimal"):
        return None if repr(cell) == "<NA>" else str(cell)
    raise ValueError(f"a {type(cell).__name__} is no cell of a row.")


def _picture(pixels: Any) -> Any:
    """An array of height x width (x channels) as a PIL image.

    Raises:
        ValueError: it has another shape, or other numbers.
    """
    import numpy as np
    from PIL import Image

    shape = "x".join(map(str, pixels.shape))
    if pixels.ndim > 3 or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ValueError(f"an array of {shape} is no image: height x width, or height x width x 1, 3 or 4.")
    pixels = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if pixels.ndim == 3 and pixels.dtype.kind == "f" and pixels.min() >= 0 and pixels.max() <= 1:
        pixels = np.rint(pixels * 255).astype(np.uint8)  # as `mmpref.images` does with one channel
    try:
        return Image.fromarray(pixels.astype(np.float32) if pixels.dtype.kind == "f" else pixels)
    except TypeError as error:
        raise ValueError(f"an array of {shape} {pixels.dtype} is no image.") from error


def _encoded(picture: Any) -> bytes:
    """A PIL image, upright, as PNG, or as TIFF where PNG has no such pixels: without loss either way."""
    from PIL import ImageOps

    upright, buffer = ImageOps.exif_transpose(picture), io.BytesIO()
    as_png = upright.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
    upright.save(buffer, "PNG" if as_png else "TIFF")
    return buffer.getvalue()


def _file_of(picture: Any, error: Exception) -> bytes:
    """The file of a PIL image that cannot be decoded.

    Raises:
        ValueError: it cannot be read either.
    """
    try:
        picture.fp.seek(0)
        return bytes(picture.fp.read())
    except (AttributeError, OSError, ValueError):
        reason = str(error) or "its file is closed"
        raise ValueError(f"an image that cannot be decoded: {reason}.") from error


def _files(cell: Any, own_paths: bool) -> Any:
    """An image cell whose paths are files of this machine as `Path` objects."""
    if isinstance(cell, list):
        return [_files(value, own_paths) for value in cell]
    if isinstance(cell, dict) and cell.get("bytes") is None and isinstance(cell.get("path"), str):
        return _files(cell["path"], own_paths)
    if not isinstance(cell, str) or len(cell) > 4096 or is_embedded(cell):
        return cell
    path = Path(cell).expanduser()
    return path.absolute() if (own_paths or path.is_absolute()) and path.is_file() else cell


def _with_images(row: Row) -> Row:
    """The row with the content of its image files."""
    return {name: _read(cell) if plain_name(name) in IMAGES else cell for name, cell in row.items()}


def _read(cell: Any) -> Any:
    if isinstance(cell, list):
        return [_read(value) for value in cell]
    return {"bytes": cell.read_bytes(), "path": cell.name} if isinstance(cell, Path) else cell


def _digest(cell: Any) -> str:
    content = cell.read_bytes() if isinstance(cell, Path) else cell
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _is_frame(value: Any) -> bool:
    return hasattr(value, "to_dict") and hasattr(value, "itertuples")


def _is_dataset(value: Any) -> bool:
    return _is_of_datasets(value) and hasattr(value, "__len__")


def _is_stream(value: Any) -> bool:
    """Whether it is an ``IterableDataset``, which is read once and held."""
    return _is_of_datasets(value) and not hasattr(value, "__len__")


def _is_of_datasets(value: Any) -> bool:
    return type(value).__module__.startswith("datasets.") and hasattr(value, "with_format") and hasattr(value, "info")


def _is_dataset_dict(value: Any) -> bool:
    return isinstance(value, dict) and type(value).__module__.startswith("datasets.")
