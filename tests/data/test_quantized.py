"""Preference pairs from a quantized model, by bitsandbytes itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe


def test_the_engine_writes_much_the_same_in_8_bits(tmp_path: Path) -> None:
    settings = {"max_answer_tokens": 32, "similarity_model": "pkg:mmpref.testbed/embedder"}
    full = BuildRecipe("pkg:mmpref.testbed/model", "testbed", "bdhs", limit=8, builder=settings)
    rejected = []
    for recipe in (replace(full, quantization="8bit"), full):
        output = tmp_path / str(recipe.quantization)
        manifest = build_dataset(recipe, output)
        assert manifest["recipe"]["quantization"] == recipe.quantization
        (file,) = (output / "data").iterdir()
        rejected.append([row["rejected"][0]["content"] for row in pq.read_table(file).to_pylist()])
    assert len(rejected[0]) >= 6
    assert len({*rejected[0]} & {*rejected[1]}) >= 4
