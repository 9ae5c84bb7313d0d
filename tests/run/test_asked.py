"""A split is named where the data have one: not of a file, whose rows are every split's."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.run.asked import Asked

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("data", "which", "split"),
    [
        ({"id": "chair-dev.jsonl", "split": "test"}, "chair-dev.jsonl", None),
        ({"id": "mine/dev.JSONL", "split": "test"}, "dev.JSONL", None),
        ({"id": "/home/me/shown.csv.gz", "split": "test"}, "shown.csv.gz", None),
        ({"id": "hf://datasets/me/set/rows.parquet", "split": "train", "revision": COMMIT}, "rows.parquet", None),
        ({"id": "rows in memory", "split": "train"}, "rows in memory", None),
        ({"id": "/home/me/photos.v2", "split": "dev"}, "photos.v2:dev", "dev"),
        ({"id": "lmms-lab/POPE", "split": "test", "revision": COMMIT}, "lmms-lab/POPE:test", "test"),
        ({"id": "me/rows.json", "split": "test", "revision": COMMIT}, "me/rows.json:test", "test"),
        ({"id": "testbed-chair", "split": "dev"}, "testbed-chair:dev", "dev"),
        ({"id": "testbed-chair"}, "testbed-chair", None),
        ({}, "", None),
    ],
)
def test_the_split_of_data(data: dict[str, Any], which: str, split: str | None) -> None:
    asked = Asked("chair", "chair", data=data)
    assert (asked.which, asked.split) == (which, split)


@pytest.mark.parametrize(
    ("name", "changed", "which"),
    [
        ("me/questions", {"config": "german"}, "me/questions (german):test"),
        ("me/questions", {"config": None}, "me/questions (default):test"),
        ("me/questions", {"limit": 3}, "me/questions:test"),
        ("me/questions", None, "me/questions:test"),
        ("testbed-gqa", {"config": None}, "testbed-gqa:test"),
    ],
)
def test_a_configuration_that_is_not_the_published_one_is_named(name: str, changed: Any, which: str) -> None:
    assert Asked("gqa", "gqa", data={"id": name, "revision": "a" * 40, "split": "test"}, changed=changed).which == which
