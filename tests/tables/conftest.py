"""Fixtures of the tests of tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tables.made_rows import PNG


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the picture of the rows, under the names that they have for it."""
    folder = tmp_path / "root"
    (folder / "coco/train2017").mkdir(parents=True)
    for name in ("a.png", "coco/train2017/000000000009.jpg", "caf\u00e9.png"):
        (folder / name).write_bytes(PNG)
    return folder
