"""A row with its columns in their own place, and under the names that they are looked for by.

Headings may be in capitals and with spaces: here alone they are made plain, so that whoever looks for ``image_path``,
``label`` or ``image_2`` finds ``Image Path``, ``Label`` and ``Image 2``.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from mmpref.tables._tar import KEY, image_members
from mmpref.tables.cells import NamedRow, plain_name, unpacked
from mmpref.tables.messages import CHOSEN, QUESTIONS, WHOLE


def unfolded(row: Mapping[str, Any], wanted: Container[str] | None = None) -> Mapping[str, Any]:
    """A row of a webdataset, or one whose ``text`` is a JSON object (RLHF-V), with the columns inside of it in its own
    place; any other row as it is. Every column by its `plain_name`, where no other has it too.

    Args:
        wanted: the plain names that alone are given; None for all. A reader of other rows, such as a benchmark's, may
            look for names in capitals.
    """
    return _with_plain_names(_opened(_with_plain_names(row, wanted)), wanted)


def _with_plain_names(row: Mapping[str, Any], wanted: Container[str] | None) -> Mapping[str, Any]:
    plain_names = map(plain_name, row)
    names = [plain if wanted is None or plain in wanted else name for name, plain in zip(row, plain_names, strict=True)]
    if names == list(row):
        return row
    called = {plain if names.count(plain) == 1 else name: name for name, plain in zip(row, names, strict=True)}
    return NamedRow({plain: row[name] for plain, name in called.items()}, called, row)


def _opened(row: Mapping[str, Any]) -> Mapping[str, Any]:
    if KEY in row:
        inner = row.get("json")
        inner = inner if isinstance(inner, Mapping) else {}
        images = image_members(row)
        texts = {"caption": row["txt"]} if isinstance(row.get("txt"), str) else {}
        others = {name: cell for name, cell in row.items() if name not in images and name not in (KEY, "json", "txt")}
        cells = [cell for cell in images.values() if cell is not None]
        return {"id": row[KEY], **others, **texts, **inner, **({"images": cells} if cells else {})}
    if not any(name in row for name in (*WHOLE, *QUESTIONS, *CHOSEN)) and isinstance(row.get("text"), str):
        inner = unpacked(row["text"])
        if isinstance(inner, Mapping):
            return {**{name: value for name, value in row.items() if name != "text"}, **inner}
    return row
