"""Images of a source that are decoded in other processes: the same examples and skips, and a death costs its row."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from mmpref.data.sources import Source
from mmpref.images import look_at
from mmpref.tables.in_memory import spec_of
from mmpref.tables.open import open_table
from mmpref.types import Example, Skip
from mmpref.workers import WorkerPool
from tests.deadly import DEADLY_HEIGHT, look


def png(height: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (24, height), 9).save(buffer, "PNG")
    return buffer.getvalue()


def rows() -> list[dict[str, Any]]:
    images = [png(16), b"no image", png(DEADLY_HEIGHT), png(20, "I;16"), png(16), png(24)]
    return [
        {"id": str(number), "image": image, "prompt": "What is it?", "answer": f"Number {number}."}
        for number, image in enumerate(images)
    ]


def outcomes(pool: Any) -> list[Example | Skip]:
    source = Source([open_table(spec_of(rows()))], looks=pool)
    return [row for _, block in source.blocks(2, lambda _: True) for row in block]


@pytest.fixture(scope="module")
def expected() -> list[Example | Skip]:
    return outcomes(WorkerPool(look_at, 0))


def test_workers_give_the_same_examples_and_skips(expected: list[Example | Skip]) -> None:
    pool = WorkerPool(look_at, 2)
    try:
        assert outcomes(pool) == expected
    finally:
        pool.close()
    assert [type(row) for row in expected] == [Example, Skip, Example, Example, Example, Example]
    assert isinstance(expected[3], Example)
    assert expected[3].notes == ("16-bit_images",)


def test_an_image_that_ends_its_process_is_a_skip_and_no_more(expected: list[Example | Skip]) -> None:
    pool = WorkerPool(look, 1)
    try:
        got = outcomes(pool)
    finally:
        pool.close()
    deadly = got[2]
    assert isinstance(deadly, Skip)
    assert (deadly.reason, deadly.detail) == ("bad-image", "decoding it ends the process that does it.")
    assert [*got[:2], *got[3:]] == [*expected[:2], *expected[3:]]


def test_nothing_is_decoded_here_beside_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerPool(look_at, 1)

    def refused(*_: Any) -> Any:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr("mmpref.images.decode_noting", refused)
    try:
        assert sum(isinstance(row, Example) for row in outcomes(pool)) == 5
    finally:
        pool.close()
