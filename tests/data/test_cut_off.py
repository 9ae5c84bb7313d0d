"""Answers that a bound on length cuts off are counted, and no pairs unless asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import InputError

EMBEDDER = "pkg:mmpref.testbed/embedder"


def build(output: Path, method: str, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    recipe = BuildRecipe(
        model="pkg:mmpref.testbed/model",
        source="testbed",
        method=method,
        limit=8,
        builder={"similarity_model": EMBEDDER, **settings},
    )
    manifest = build_dataset(recipe, output)
    return manifest, json.loads((output / "report.json").read_text())


@pytest.mark.parametrize(
    ("method", "settings"),
    [("bdhs", {"iterations": 1, "max_tail_tokens": 1}), ("masking", {"iterations": 1, "max_answer_tokens": 1})],
)
def test_a_cut_answer_is_a_pair_only_if_asked_for(tmp_path: Path, method: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cut-off: 8"):
        build(tmp_path / "none", method, **settings)
    manifest, report = build(tmp_path / "kept", method, keep_cut_off=True, **settings)
    assert manifest["counts"]["rows"] + manifest["counts"]["skipped"].get("same-as-chosen", 0) == 8
    assert manifest["counts"]["rows"] >= 5
    assert manifest["notes"] == report["notes"] == {"tries": 8, "tries_cut_off": 8}


@pytest.mark.parametrize("method", ["seva", "stic", "other-image"])
def test_so_it_is_for_methods_that_write_whole_answers(tmp_path: Path, method: str) -> None:
    with pytest.raises(InputError, match=r"cut-off: [5-8]"):
        build(tmp_path / "none", method, max_answer_tokens=1)
    manifest, _ = build(tmp_path / "kept", method, max_answer_tokens=1, keep_cut_off=True)
    assert manifest["counts"]["rows"] >= 5


def test_another_try_is_made_where_one_was_cut_off(tmp_path: Path) -> None:
    manifest, report = build(tmp_path / "run", "bdhs", iterations=5, max_tail_tokens=1, max_answer_tokens=60)
    assert manifest["counts"]["rows"] + sum(manifest["counts"]["skipped"].values()) == 8
    assert report["notes"]["tries"] == 40
    assert report["notes"]["tries_cut_off"] >= 32
