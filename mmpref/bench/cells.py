"""The cells of a benchmark's row: text, one of some words, a list, its image. One without the value that a benchmark
needs is an error that names row and column; an image that cannot be read makes its sample a missing one."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import ImageError, InputError, brief
from mmpref.images import decode
from mmpref.local_paths import check_hint
from mmpref.registry import resolve_path
from mmpref.tables.cells import (
    IMAGES,
    OBJECTS,
    as_text,
    columns_of,
    image_cells,
    is_empty,
    is_no_image,
    is_null,
    object_names,
    own_name,
    unpacked,
)
from mmpref.tables.image_cells import RemoteImageError, is_embedded, path_in_cell, read_image
from mmpref.tables.image_roots import ImageRoots, coco_id
from mmpref.types import ImageData
from mmpref.words import folded

if TYPE_CHECKING:
    from PIL import Image

_AROUND = " .,:;!?()[]\"'"
"""What may stand around a word that is one of a few."""

_TRUTHS = {"true": "yes", "false": "no", "1": "yes", "0": "no", "1.0": "yes", "0.0": "no"}
"""What labels are written as that tables keep as booleans or numbers (with gaps they become fractions)."""


def column_of(row: Mapping[str, Any], *names: str) -> str:
    """The first of these columns that a row has: authors call a column by another name than the Hub's copies. Of a row
    with none it is the first, which an error then names: the one that people write and ``--columns`` maps to."""
    return next((name for name in names if name in row), names[0])


def value_of(row: Mapping[str, Any], column: str, where: str) -> Any:
    """The value of a column that must have one.

    Raises:
        InputError: there is no such column, or it is empty.
    """
    if is_empty(row.get(column)):
        hint = "" if column in row else f"If it has another name there, say so: --columns {_named(row, column)}"
        raise InputError(
            f"{where} has no value in column {own_name(row, column)!r}; its columns are {columns_of(row)}.", hint
        )
    return row[column]


def _named(row: Mapping[str, Any], column: str) -> str:
    """What ``--columns`` may say of a column that is not there."""
    return f"{column}={next((name for name in row if str(name).lower() == column.lower()), 'COLUMN')}"


def require_columns(row: Mapping[str, Any], where: str, *columns: str) -> None:
    """Tell all columns at once that a row lacks. One alone is told by whoever reads it (`value_of`).

    Args:
        columns: that a benchmark needs, as `column_of` gives them; ``image`` is any that holds images.

    Raises:
        InputError: several are not there.
    """
    absent = [name for name in columns if name not in row and not (name == "image" and image_cells(row))]
    if len(absent) > 1:
        raise InputError(
            f"{where} has no columns {', '.join(map(repr, absent))}; its columns are {columns_of(row)}.",
            f"If they have other names there, say so: --columns {','.join(_named(row, name) for name in absent)}",
        )


def text_cell(row: Mapping[str, Any], column: str, where: str) -> str:
    """A cell as text (`as_text`), a boolean too.

    Raises:
        InputError: it is empty, or holds a list or the like.
    """
    value = value_of(row, column, where)
    content = str(value) if isinstance(value, bool) else as_text(value)
    if content is None:
        raise InputError(f"{where}, column {own_name(row, column)} is a {type(value).__name__}, not text.")
    return content


def optional_text(row: Mapping[str, Any], column: str) -> str | None:
    """A cell as text; None where there is none."""
    return None if is_empty(row.get(column)) else text_cell(row, column, "")


def _is_caption(row: Mapping[str, Any]) -> bool:
    """Whether a row is that of a file of captions: beside its image and ids there is nothing else."""
    return "caption" in row and not row.keys() - {"caption", "id", "image_id", *IMAGES}


def choice_cell(
    row: Mapping[str, Any],
    column: str,
    where: str,
    allowed: Sequence[str],
    meaning: Mapping[str, str] | None = None,
    hint: str = "",
) -> str:
    """A cell that holds one of some words, whatever its case and the marks around it; of yes and no also a boolean, or
    1 and 0.

    Args:
        meaning: other words, folded (`mmpref.words.folded`) -> which of these each stands for.
        hint: what to do where it holds another value.

    Raises:
        InputError: it holds another value.
    """
    value = folded(text_cell(row, column, where)).strip().strip(_AROUND)
    known = {**(_TRUTHS if "yes" in allowed else {}), **(meaning or {})}
    said = known.get(value, value)
    if said not in allowed:
        raise InputError(
            f"{where}, column {own_name(row, column)} is {value[:80]!r}, none of "
            f"{', '.join((*allowed, *(meaning or ())))}.",
            hint,
        )
    return said


def list_cell(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    """A cell that holds a list of strings, or JSON text of one.

    Raises:
        InputError: it holds anything else, or a list with an empty entry.
    """
    value = unpacked(value_of(row, column, where))
    if not isinstance(value, list):
        raise InputError(f"{where}, column {own_name(row, column)} is a {type(value).__name__}, not a list of strings.")
    wrong = next((position for position, item in enumerate(value) if not isinstance(item, str) or is_empty(item)), None)
    if wrong is not None:
        what = "empty" if is_empty(value[wrong]) else f"a {type(value[wrong]).__name__}"
        raise InputError(f"{where}, column {column} holds a list whose entry {wrong} is {what}, not a string.")
    return value


def objects_cell(row: Mapping[str, Any], where: str) -> list[str]:
    """What an image shows, folded (`mmpref.words.folded`): a list, or text with commas as people write it into CSV.

    Raises:
        InputError: there is no such cell, or it is neither.
    """
    column = column_of(row, *OBJECTS)
    if column not in row and _is_caption(row):
        raise InputError(
            f"{where} holds a caption, and this benchmark needs the names of the objects that an image shows, in a "
            f"column {column!r}; its columns are {columns_of(row)}.",
            "Of COCO's annotations name the file with the objects, instances_....json, and not captions_....json.",
        )
    found = object_names(value_of(row, column, where))
    return list_cell(row, column, where) if found is None else found


def image_cell(
    row: Mapping[str, Any], where: str, roots: tuple[Path, ...], column: str = "image", folder: str | None = None
) -> ImageData:
    """The one encoded image of a column, as `read_image` reads it; where there is none of that name, of whichever
    column holds images. One that cannot be read is empty, named by the reason, and cannot be decoded (`seen`): its
    sample will count as missing.

    Args:
        roots: where the table's images are (`Table.images`).
        folder: of the images, where it is not the table's.

    Raises:
        InputError: there is no such column, it holds several images, or there is no such folder.
    """
    image, *further = image_list(row, where, roots, column, folder)
    if further:
        raise InputError(f"{where}, column {column} holds {1 + len(further)} images; this benchmark asks about one.")
    return image


def image_list(
    row: Mapping[str, Any], where: str, roots: tuple[Path, ...], column: str = "image", folder: str | None = None
) -> list[ImageData]:
    """The images of a column in their order, as `image_cell` gives the one of a column; at least one, which may be
    empty.

    Raises:
        InputError: there is no such column or folder.
    """
    cell = row[column] if column in row else (image_cells(row) or value_of(row, column, where))
    cells = cell if isinstance(cell, list) else [cell]
    at = None if folder is None and not roots else _roots_at(folder, roots)
    return [cell_image(one, where, at) for one in cells or [None]]


def cell_image(cell: Any, where: str, roots: ImageRoots | None) -> ImageData:
    """The image of a cell, as `image_cell` gives that of a column.

    Args:
        roots: where images that are named by a path lie; None where there is no such place.
    """
    try:
        if is_no_image(cell):
            raise ImageError("no image")
        path = path_in_cell(cell)
        if path is not None and roots is None:
            raise ImageError(f"a path, and the table has no folder: {brief(path)!r}")
        image = read_image(cell, roots or ImageRoots([]))
        if not image.content:
            raise ImageError("a file of 0 bytes")
    except RemoteImageError as error:
        return ImageData(b"", f"{where} (an address, which is not fetched: {brief(error.address)!r})")
    except ImageError as error:
        return ImageData(b"", f"{where} ({error.message[:600].rstrip('.')})")
    return ImageData(image.content, where)


@functools.lru_cache(maxsize=16)
def _roots_at(folder: str | None, roots: tuple[Path, ...]) -> ImageRoots:
    """Where a table's images are; once for all of its rows, since the COCO names in a folder are listed only once."""
    if folder is None:
        return ImageRoots(roots)
    path = Path(resolve_path(folder)).expanduser()
    if not path.exists():
        raise InputError(
            f"There is no folder of images {folder}.", check_hint(folder, "Check the benchmark's setting images.")
        )
    return ImageRoots([path])


def image_name(row: Mapping[str, Any]) -> str | None:
    """What a row calls its image: the file's name without its suffix; None where the cell is no path."""
    value = row.get("image")
    if not isinstance(value, str) or is_null(value) or is_embedded(value):
        return None
    return Path(value.replace("\\", "/")).stem


def image_id(row: Mapping[str, Any], image: ImageData, number: int) -> str:
    """What samples about one image have in common: the name of its file, or a hash of its content where it has none, or
    where files of several folders may have that name; without either, the row's number."""
    name = image_name(row)
    if name is None:
        return image_key(image, number)
    path = str(row["image"])
    if name and (name in (path, path.rpartition(".")[0]) or coco_id(path.replace("\\", "/")) is not None):
        return name
    return image_key(image, number)


def with_suffix(question: str, suffix: str) -> str:
    """A question and what is appended to it, on a line of its own where neither says what stands between."""
    apart = not question or not suffix or question[-1].isspace() or suffix[0].isspace()
    return question + suffix if apart else f"{question}\n{suffix}"


def decoded_image(image: ImageData) -> Image.Image:
    """A sample's image, decoded.

    Raises:
        ImageError: it cannot be read, or decoded.
    """
    if not image.content:
        raise ImageError(f"{image.name}.")
    return decode(image)


def image_key(image: ImageData | None, number: int) -> str:
    """Names the image of a row, so that rows about one image are resampled together; where there is none, the row."""
    return images_key(() if image is None else (image,), number)


def images_key(images: Sequence[ImageData], number: int) -> str:
    """`image_key` of a row with any number of images: rows about the same ones are resampled together."""
    return images_digest(images).hex()[:16] if any(image.content for image in images) else str(number)


def images_digest(images: Sequence[ImageData]) -> bytes:
    """SHA-256 of the content of images, in their order; of one image it is that of its file."""
    digests = [image.sha256 for image in images]
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
