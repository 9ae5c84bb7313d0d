"""What the tests of the API share: rows with photographs, and the testbed's own settings made small."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from mmpref.tables.image_cells import image_cells
from mmpref.tables.table import TABLES

SMALL = {"iterations": 1, "max_tail_tokens": 8, "max_answer_tokens": 16}
"""Settings of BDHS that are soon done."""


@pytest.fixture(scope="session")
def photos() -> list[dict[str, Any]]:
    """Ten pictures with a question and an answer, as somebody has them in memory."""
    rows = []
    for _, row in zip(range(10), TABLES.get("testbed")("train"), strict=False):
        [cell] = image_cells(row)
        picture = Image.open(io.BytesIO(cell["bytes"]))
        rows.append(
            {"image": picture, "question": "Describe the image.", "answer": "There is a cup and a fork at the back."}
        )
    return rows
