"""What a command looks up before any work."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.align.recipe import TrainRecipe
from mmpref.api.checks import look_up
from mmpref.data.recipe import BuildRecipe

MODEL = "pkg:mmpref.testbed/model"


@pytest.mark.parametrize(
    "recipe",
    [
        TrainRecipe(MODEL, ("testbed",), adapter="somebody/an-adapter"),
        BuildRecipe(method="bdhs", source=("testbed",), model=MODEL, adapter="somebody/an-adapter"),
    ],
    ids=["train", "build-dataset"],
)
def test_an_adapter_on_the_hub_is_asked_for(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, str]] = []
    monkeypatch.setattr("mmpref.vlm.revisions.commit_of", lambda *of: asked.append(of))
    look_up(recipe)
    assert ("somebody/an-adapter", None, "adapter_config.json") in asked
