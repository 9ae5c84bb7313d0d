"""Cases 8 to 14: models and adapters that other tools saved, or that lack something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpref.registry import resolve_path

from .commands import HERE, MODEL, SMALL, done, refused, value
from .variants import ADAPTERS, MODELS, adapter, cut, model, old, rewritten

POPE = ("--benchmark", "pope", "--set", "benchmark.pope.data=testbed-pope", "--limit", 6)
BUILD = ("build-dataset", "--source", "testbed", "--limit", 4, "--similarity-model", "pkg:mmpref.testbed/embedder")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    found = done("evaluate", "--model", MODEL, *POPE, "--output", tmp_path_factory.mktemp("base") / "run")
    results: list[dict[str, Any]] = found["results"]
    return results


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"template_for_text"}))
def test_a_models_shortcoming_is_mended_and_never_its_rows_fault(
    name: str, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = model(name, tmp_path / "model")
    found = done("evaluate", "--model", path, *POPE, "--output", tmp_path / "run")
    assert [row["value"] for row in found["results"]] == [row["value"] for row in expected]
    assert done(*BUILD, "--model", path, "--output", tmp_path / "pairs")["counts"] == {"rows": 4, "skipped": {}}


def test_a_template_for_text_is_refused_by_every_command_before_any_row(tmp_path: Path) -> None:
    path = model("template_for_text", tmp_path / "model")
    for command in (("evaluate", *POPE), BUILD):
        said = refused(*command, "--model", path, "--output", tmp_path / "run")
        assert said.startswith(f"The chat template of {path} is one for text")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("share", ["true", "false"])
def test_a_model_without_a_padding_token_trains(share: str, tmp_path: Path) -> None:
    found = done(
        "train",
        "--model",
        model("no_pad_token", tmp_path / "model"),
        "--dataset",
        HERE / "rows/c07_implicit.jsonl",
        *SMALL,
        "--set",
        f"share_prompt={share}",
        "--output",
        tmp_path / "run",
    )
    assert found["steps"] == 2


def test_sampling_flags_stop_neither_training_nor_its_evaluation(tmp_path: Path) -> None:
    path = model("sampling_flags", tmp_path / "model")
    done("train", "--model", path, "--dataset", HERE / "rows/c07_implicit.jsonl", *SMALL, "--output", tmp_path / "run")
    found = done("evaluate", "--model", path, "--adapter", tmp_path / "run", *POPE, "--output", tmp_path / "scores")
    assert value(found, "accuracy")["n"] == 6


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_of_other_tools_are_evaluated(name: str, tmp_path: Path) -> None:
    path = adapter(name, tmp_path / "adapter")
    found = done("evaluate", "--model", MODEL, "--adapter", path, *POPE, "--output", tmp_path / "run")
    assert {row["model"] for row in found["results"]} == {"base", "adapter"}


@pytest.mark.parametrize("name", ["plain", "projector"])
def test_names_of_before_4_52_give_the_same_numbers(name: str, tmp_path: Path) -> None:
    path = adapter(name, tmp_path / "adapter")
    evaluate = ("evaluate", "--model", MODEL, "--adapter", path, *POPE, "--output")
    new = done(*evaluate, tmp_path / "new")
    rewritten(path, old)
    assert done(*evaluate, tmp_path / "old")["results"] == new["results"]


def test_an_adapter_that_lacks_most_of_its_weights_is_refused(tmp_path: Path) -> None:
    path = rewritten(adapter("plain", tmp_path / "adapter"), cut)
    said = refused("evaluate", "--model", MODEL, "--adapter", path, *POPE, "--output", tmp_path / "run")
    assert "lacks 20 of the weights that its configuration names: model.vision_tower" in said
    assert not (tmp_path / "run").exists()


def test_an_adapter_given_as_a_model_is_named(tmp_path: Path) -> None:
    path = adapter("plain", tmp_path / "adapter")
    said = refused("evaluate", "--model", path, *POPE, "--output", tmp_path / "run").strip()
    assert said == f"{path} is an adapter, not a model. Use --model={resolve_path(MODEL)} --adapter={path}."
