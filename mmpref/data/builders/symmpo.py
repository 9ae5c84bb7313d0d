"""SymMPO: one question about two similar images, and for each an answer and a worse one (Tanh01/SymMPO_Dataset).

Liu et al., arXiv 2506.11712. A row has ``question``, ``image_1`` and ``image_2`` (embedded), and ``resp_1_w``,
``resp_1_l``, ``resp_2_w`` and ``resp_2_l``: the preferred and the other answer about either image
(Liuwq-bit/SymMPO `muffin/data/datasets.py`, commit a4a1a39). It gives two pairs, ``<id>-1`` and ``<id>-2``.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.data.builders._published import Row, published
from mmpref.tables.cells import as_text
from mmpref.tables.table import Origin

ORIGIN = Origin(("Tanh01/SymMPO_Dataset",))


def read(row: Row) -> Iterator[Row]:
    """Both pairs of a raw row."""
    name = as_text(row.get("idx"))
    for image in ("1", "2"):
        yield {
            "id": None if name is None else f"{name}-{image}",
            "image": row.get(f"image_{image}"),
            "image_path": row.get(f"image_path_{image}"),
            "prompt": row.get("question"),
            "chosen": row.get(f"resp_{image}_w"),
            "rejected": row.get(f"resp_{image}_l"),
            "source": row.get("origin_dataset"),
        }


BUILDER = published("symmpo", ORIGIN, read)
