"""Cells that say nothing, in every library's form, and cells that hold more than they seem to."""

from __future__ import annotations

import base64
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmpref.bench.cells import list_cell
from mmpref.errors import ImageError
from mmpref.tables import image_cells
from mmpref.tables.cells import as_text, is_missing, is_null, records, unpacked
from mmpref.tables.image_cells import read_image
from mmpref.tables.image_roots import ImageRoots


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, Decimal("nan")])
def test_missing(value: Any) -> None:
    assert is_missing(value)
    assert is_null(value)


@pytest.mark.parametrize("value", ["", "nan", "NaN", " None ", "null", "<NA>", "N/A"])
def test_text_of_nothing_is_nothing_where_no_text_belongs(value: str) -> None:
    assert not is_missing(value)
    assert is_null(value)


@pytest.mark.parametrize("value", [0, False, 0.0, "no", [], {}, b"", float("inf"), np.zeros(3)])
def test_something(value: Any) -> None:
    assert not is_missing(value)
    assert not is_null(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nan", "nan"),
        (3, "3"),
        (3.0, "3"),
        (np.float64(2.0), "2"),
        (3.5, "3.5"),
        (Decimal("2.50"), "2.50"),
        *((value, None) for value in (True, 3.5j, float("inf"), float("nan"), None, ["3"], b"3", pd.NA)),
    ],
)
def test_numbers_are_text_and_nothing_else_is(value: Any, said: str | None) -> None:
    assert as_text(value) == said


def test_lists_of_benchmarks_may_be_json_text() -> None:
    assert list_cell({"answers": '["a", "b"]'}, "answers", "row 0") == ["a", "b"]


def test_json_and_lists_taken_apart() -> None:
    assert unpacked('[{"a": 1}]') == [{"a": 1}]
    assert unpacked("[{'a': None}]") == [{"a": None}]
    for text in ("[not json]", "[" * 100_000 + "]" * 100_000, "{'a': open('x')}", "3", "[1", ""):
        assert unpacked(text) == text
    assert records({"a": [1, 2], "b": [3, 4], "c": None}) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    for value in ({"a": [1], "b": [1, 2]}, {"a": "x"}, {}, [1]):
        assert records(value) == value


def test_base64_is_bounded_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = ImageRoots([tmp_path])
    content = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    safe = base64.urlsafe_b64encode(content).decode().rstrip("=")
    assert read_image(safe, roots).content == content
    assert read_image(f"data:image/png;base64,{safe.replace('_', '%2F').replace('-', '%2B')}", roots).content == content
    with pytest.raises(ImageError, match=r"characters that are no base64 \('\*\*\*'\)"):
        read_image("data:image/png;base64,***", roots)
    with pytest.raises(ImageError, match="a data URI that is not base64"):
        read_image("data:image/svg+xml,<svg/>", roots)
    monkeypatch.setattr(image_cells, "MAX_ENCODED", 100)
    with pytest.raises(ImageError, match="characters of base64; at most 100 are decoded"):
        read_image(safe, roots)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file:///etc/passwd", "leaves its root"),
        ("file://other-host/a.png", "on another machine"),
        ("file:///x/%2e%2e/%2e%2e/secret.png", "leaves its root"),
        ("..\\secret.png", "leaves its root"),
        ("C:\\x\\..\\..\\secret.png", "leaves its root"),
        ("ftp://example.org/a.png", "on another machine"),
        ("http://[bad/a.png", "on another machine"),
    ],
)
def test_what_is_never_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "root/a").mkdir(parents=True)
    with pytest.raises(ImageError, match=message):
        read_image(name, ImageRoots([tmp_path / "root"]))


def test_a_file_uri_under_a_root_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "two words").mkdir()
    (tmp_path / "two words/a.png").write_bytes(b"right")
    (tmp_path / "a.png").write_bytes(b"wrong")
    found = read_image((tmp_path / "two words/a.png").as_uri(), ImageRoots([tmp_path]))
    assert (found.content, found.name) == (b"right", "two words/a.png")
