"""Fixtures of the tests of building."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mmpref import registry
from mmpref.data.sources import Source
from mmpref.tables.open import open_table
from mmpref.types import Example, ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from tests.data import own_pairs, reversed_rows


@pytest.fixture
def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a method of that name: `tests.data.reverse`."""
    monkeypatch.setitem(registry._modules("mmpref.builders"), "reverse", "tests.data.reverse")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of rows, a few of which cannot be used."""
    return reversed_rows.write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def listed_examples() -> list[Example]:
    """A block of the testbed's rows that list their objects."""
    rows = own_pairs.ROWS
    [(_, block)] = Source([open_table("testbed-objects")], limit=rows).blocks(rows, lambda _: True)
    return [row for row in block if isinstance(row, Example)]


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The testbed's model."""
    return load_policy(ModelRef(own_pairs.MODEL))
