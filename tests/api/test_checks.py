"""What is looked up on the Hub before any work."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.align.recipe import TrainRecipe
from mmpref.api.checks import look_up
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.data.recipe import BuildRecipe

MODEL = "pkg:mmpref.testbed/model"


@pytest.mark.parametrize(
    ("recipe", "revision"),
    [
        (BuildRecipe(MODEL, "testbed", adapter="me/lora", revision="main"), None),
        (TrainRecipe(MODEL, ("testbed",), adapter="me/lora", revision="main"), None),
        (EvaluateRecipe(MODEL, ("pope",), adapter="me/lora", adapter_revision="v2", revision="main"), "v2"),
    ],
)
def test_an_adapter_of_the_hub_is_looked_up_at_its_own_revision(
    recipe: Any, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("mmpref.vlm.revisions.commit_of", lambda *words: asked.append(words))
    look_up(recipe, ("source", "dataset"))
    assert ("me/lora", revision, "adapter_config.json") in asked
