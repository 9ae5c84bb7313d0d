"""What is looked up on the Hub before any work."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.align.recipe import TrainRecipe
from mmpref.api.checks import look_up, refuse_absent
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import UsageError
from mmpref.tables.open import open_table
from mmpref.types import ModelRef
from mmpref.vlm.load import identify

MODEL = "pkg:mmpref.testbed/model"


@pytest.mark.parametrize(
    ("recipe", "revision"),
    [
        (BuildRecipe(MODEL, "testbed", adapter="me/lora"), None),
        (TrainRecipe(MODEL, ("testbed",), adapter="me/lora"), None),
        (EvaluateRecipe(MODEL, ("pope",), adapter="me/lora", adapter_revision="v2"), "v2"),
    ],
)
def test_an_adapter_of_the_hub_is_looked_up_at_its_own_revision(
    recipe: Any, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("mmpref.origins.revisions.commit_of", lambda *words: asked.append(words))
    look_up(recipe, ("source", "dataset"))
    assert ("me/lora", revision, "adapter_config.json") in asked


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (BuildRecipe(MODEL, "testbed", revision="v9"), f"{MODEL} is on this machine, so --revision"),
        (BuildRecipe(MODEL, "testbed", source_revision="v9"), "testbed is on this machine, so --source-revision"),
        (TrainRecipe(MODEL, ("testbed",), revision="0" * 40), f"{MODEL} is on this machine, so --revision"),
        (EvaluateRecipe(MODEL, ("pope",), revision="v9"), f"{MODEL} is on this machine, so --revision"),
    ],
)
def test_what_is_on_this_machine_has_no_revision(recipe: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        refuse_absent(recipe, ("dataset",))


def test_no_revision_of_a_folder_is_ever_taken_for_one() -> None:
    with pytest.raises(UsageError, match="has no use"):
        identify(ModelRef(MODEL, "v9"))
    with pytest.raises(UsageError, match="has no use"):
        open_table("testbed", revision="v9")
