"""RLHF-V: answers of models, and people's corrections of their segments (openbmb/RLHF-V-Dataset).

Yu et al., arXiv 2312.00849. ``text`` is a JSON string of question, chosen and rejected; images are embedded.
``origin_dataset`` becomes the pair's source, and the model that ``origin_split`` names the rejected answer's writer.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.data.builders._published import Row, mapping, published, writer
from mmpref.tables.table import Origin

ORIGIN = Origin(("openbmb/RLHF-V-Dataset", "HaoyeZhang/RLHF-V-Dataset"))


def read(row: Row) -> Iterator[Row]:
    """One pair of a raw row."""
    text = mapping(row, "text")
    yield {
        "id": row.get("idx"),
        "image": row.get("image"),
        "image_path": row.get("image_path"),
        "prompt": text.get("question"),
        "chosen": text.get("chosen"),
        "rejected": text.get("rejected"),
        "source": row.get("origin_dataset"),
        "rejected_model": writer(row),
    }


BUILDER = published("rlhf-v", ORIGIN, read)
