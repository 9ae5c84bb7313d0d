"""Fixtures of the cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.own_data import NAMES, photo


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(photo(number))
    return folder
