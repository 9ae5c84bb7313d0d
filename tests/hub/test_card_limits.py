"""What a dataset card says in general is true of every method: who wrote the answers, what bounds them, its source."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from mmpref.data.builder import BUILDERS
from mmpref.hub.cards.limits import Making, limits
from tests.hub.card_parts import dataset_card
from tests.hub.runs import dataset_run

METHODS = BUILDERS.names()
MODEL = {"id": "me/vlm", "revision": None}


def _manifest(path: Path, method: str) -> dict[str, Any]:
    """Of a run by the method, with the facts that a build records."""
    builder = BUILDERS.get(method)
    manifest = dataset_run(
        path,
        methods=(method,) * 3,
        method=method,
        model=MODEL if builder.uses_model else None,
        **builder.answer_facts,
        **({"annotator": {"name": "judge"}} if builder.needs_annotator else {}),
    )
    manifest["recipe"]["builder"] = {field.name: 1 for field in dataclasses.fields(builder.config())}
    return manifest


def _parts(card: str) -> dict[str, str]:
    """The sections of a card by their title, each as one line; the title itself and what stands below it as ``#``."""
    body = card.partition("\n# ")[2]
    pieces = re.split(r"\n## (.+)\n", body)
    return {"#": pieces[0], **dict(zip(pieces[1::2], (" ".join(of.split()) for of in pieces[2::2]), strict=True))}


@pytest.mark.parametrize("method", METHODS)
def test_limits_are_true_of_the_method(tmp_path: Path, method: str) -> None:
    builder, manifest = BUILDERS.get(method), _manifest(tmp_path / "run", method)
    said = _parts(dataset_card(tmp_path / "run", manifest))["Limits"]
    written = builder.written_columns
    somebody = builder.uses_model or builder.needs_annotator
    only_rejected = written == ["rejected"]
    assert ("similarity threshold" in said) == ("similarity_threshold" in manifest["recipe"]["builder"])
    assert ("generated" in said) == bool(written and somebody)
    assert ("one model" in said.lower()) == builder.uses_model
    assert not ("annotator" in said and not builder.needs_annotator)
    assert ("No model was asked" in said) == (only_rejected and not somebody)
    assert ("chosen answers are the source's" in said) == only_rejected
    assert ("the source says" in said) == (not written and method != "reversed")
    assert ("this control's doing" in said) == (method == "reversed")
    assert "hallucinat" not in said or "do not show what a model hallucinates" in said


@pytest.mark.parametrize("method", METHODS)
def test_other_general_sentences_are_true_of_the_method(tmp_path: Path, method: str) -> None:
    builder = BUILDERS.get(method)
    parts = _parts(dataset_card(tmp_path / "run", _manifest(tmp_path / "run", method)))
    paper = "2407.02477" in BUILDERS.summary(method)
    assert ("The method is from" in parts["Citation"]) == paper
    theirs = "chosen" not in builder.written_columns and method != "reversed"
    assert ("the source's answer, as one assistant turn" in parts["Columns"]) == theirs
    assert ("brought them into this schema" in parts["#"]) == (not builder.written_columns and method != "reversed")
    control = BUILDERS.summary(method).startswith("Control: ")
    assert ("to go by what it sees" in parts["#"]) == (bool(builder.written_columns) and not control)
    first = parts["#"].split()[0]
    assert not first.partition("-")[0].islower(), f"the title begins with {first!r}"


def test_a_method_that_cites_another_paper_names_it(tmp_path: Path) -> None:
    cited = _parts(dataset_card(tmp_path / "run", _manifest(tmp_path / "run", "seva")))["Citation"]
    assert cited.startswith("The method is after [arXiv 2404.10501](https://arxiv.org/abs/2404.10501). ")
    assert "eprint={2404.10501}" in cited


def test_limits_tell_the_second_rejected_answers_from_the_sources() -> None:
    said = " ".join(limits(Making(written=("rejected",), model=True, threshold=True, second=True)))
    assert "The answers in `rejected_policy` are generated." in said
    assert "The answers in `rejected` are the source's too, and that they are worse is its judgement." in said
    assert "The rejected answers" not in said


def test_limits_of_answers_of_model_and_annotator_name_both() -> None:
    said = " ".join(limits(Making(written=("rejected",), model=True, annotator=True)))
    assert "One model and the annotator made the rejected answers" in said
    assert "nobody looked" not in said
