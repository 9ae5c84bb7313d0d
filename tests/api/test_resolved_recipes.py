"""A recipe that was resolved is a recipe too, for what it was resolved for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mmpref.api.options import build_recipe, recipe, train_recipe
from mmpref.api.watching import with_watched
from mmpref.errors import UsageError


@pytest.mark.parametrize(
    ("command", "resolver", "method"),
    [("train", train_recipe, "reward-model"), ("train", train_recipe, "rloo"), ("build-dataset", build_recipe, "opa")],
)
def test_another_method_is_chosen_before(command: str, resolver: Any, method: str) -> None:
    first = recipe("testbed", command)
    for given in ({"method": method}, {"set": {"method": method}}):
        with pytest.raises(
            UsageError, match=rf"for the method {first.method}, and {method} is chosen.*method='{method}'"
        ):
            resolver(recipe=first, **given)
    assert resolver(recipe=first, method=first.method) == first
    assert resolver(recipe=recipe("testbed", command, method=method)) == resolver(recipe="testbed", method=method)


def test_a_watched_benchmark_is_chosen_before(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "train": {"model": "a/b", "dataset": ["c/d"]},
                "evaluate": {"image_root": ["photos"], "benchmark": {"pope": {"data": "mine.jsonl"}}},
            }
        )
    )
    with pytest.raises(UsageError, match=r"watches no pope.*eval_benchmark='pope'"):
        train_recipe(recipe=recipe(file, "train"), eval_benchmark="pope")
    first: Any = recipe(file, "train", eval_benchmark="pope")
    assert first.watch.benchmark == {"pope": {"data": "mine.jsonl", "image_root": ["photos"]}}
    assert with_watched(train_recipe(recipe=first, eval_every=5), None) == with_watched(
        train_recipe(recipe=file, eval_benchmark="pope", eval_every=5), str(file)
    )
