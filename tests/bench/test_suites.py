"""Suites stand for their benchmarks, and a member whose judge cannot be asked is told before any data are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.api.options import evaluate_recipe
from mmpref.bench.evaluate import refuse
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.suites import CAPABILITIES, members
from mmpref.errors import UsageError


def test_suites() -> None:
    recipe = evaluate_recipe(model="me/vlm", benchmark=["pope", "hallucination"])
    assert recipe.benchmarks[0] == "pope"
    assert set(recipe.benchmarks) == set(members("hallucination")) >= {"chair", "amber", "mmhal"}
    assert len(recipe.benchmarks) == len(set(recipe.benchmarks))
    assert evaluate_recipe(model="me/vlm", benchmark="capabilities").benchmarks == CAPABILITIES
    assert EvaluateRecipe("me/vlm", CAPABILITIES[:1]).title == "lmms-eval.mmmu_val"


def test_a_suite_whose_judge_has_no_key_is_told_how_to_do_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "API_TYPE"):
        monkeypatch.delenv(name, raising=False)
    recipe = evaluate_recipe(model="me/vlm", benchmark=["pope", "capabilities"])
    with pytest.raises(UsageError, match=r"mathvista_testmini_format asks a judge by itself") as error:
        refuse(recipe)
    assert "OPENAI_API_KEY must be set" in str(error.value)
    left = [word.removeprefix("--benchmark=") for word in error.value.hint.split() if word.startswith("--benchmark=")]
    assert left == [name for name in ("pope", *CAPABILITIES) if "mathvista" not in name]
    refuse(evaluate_recipe(model="me/vlm", benchmark=left))
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    refuse(recipe)


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("openai", ["OPENAI_API_KEY"]),
        ("async_openai", ["OPENAI_API_KEY"]),
        ("azure", ["AZURE_API_KEY", "AZURE_ENDPOINT"]),
        ("async_azure", ["AZURE_API_KEY", "AZURE_ENDPOINT"]),
        ("bedrock", []),
        ("local", []),
        ("dummy", []),
    ],
)
def test_each_kind_of_judge_wants_its_own_variables(
    kind: str, needed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "AZURE_API_KEY", "AZURE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("API_TYPE", kind)
    recipe = evaluate_recipe(model="me/vlm", benchmark="capabilities")
    for number, name in enumerate(needed):
        unset = needed[number:]
        with pytest.raises(UsageError, match=f"{' and '.join(unset)} must be set") as error:
            refuse(recipe)
        assert ("them" in error.value.hint) is (len(unset) > 1)
        monkeypatch.setenv(name, "x")
    refuse(recipe)
    monkeypatch.delenv("AZURE_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=x\nAZURE_API_KEY=x\n")  # lmms-eval's own to read
    refuse(recipe)
