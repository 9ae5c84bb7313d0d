"""The page of a whole loop: its verdict first, and what it says of a build and of a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.unread import _GARBLED
from mmpref.cli.pages.html import render
from mmpref.cli.pages.report import remarks_of, write_report
from mmpref.run.results_text import COUNTS_DIFFER
from tests.cli.looped import report_page
from tests.markup import Markup


def said(report: dict[str, Any]) -> str:
    return render("_masking.html.j2", report=report)


def test_the_page_says_how_much_of_an_image_a_try_shows() -> None:
    assert not said({}).strip()  # a method that hides nothing
    masking = {"rho_th": 0.98975, "visible_tokens": 30.0, "image_tokens": 2928.0}
    text = said({"masking": masking})
    assert "A try shows 30 of 2928 image tokens" in text
    assert "rho_th 0.9898" in text
    assert "first tries" not in text
    curve = [
        {"visible_tokens": 30, "rho_th": 0.98975, "resolved": 0.875},
        {"visible_tokens": None, "rho_th": 0.0, "resolved": 0.25},
    ]
    text = said({"masking": masking, "rho_auto": {"rows": 64, "within": 0.03, "curve": curve, "chosen": None}})
    assert "on 64 rows: the most visible tokens within\n3 points" in text
    assert "<td>all</td><td>0</td>\n<td>25.0 %</td><td>chosen</td>" in text
    assert "<td>87.5 %</td><td></td>" in text


def test_the_page_says_that_no_step_was_better() -> None:
    rows = [{"step": step, "chair/chair_i": 0.2, "higher_is_better": False} for step in (0, 10)]
    best = {"step": 10, "metric": "chair/chair_i", "value": 0.195, "base": 0.178}
    training = {"evaluations": rows, "best": best, "remarks": ["The adapter barely moved."]}
    assert remarks_of(training, {}) == [
        "While training no step was better than the base.",
        "The adapter barely moved.",
    ]
    assert remarks_of({**training, "best": {**best, "base": 0.2}}, {"remarks": ["Few."]})[1:] == ["Few."]


def test_what_an_evaluation_says_of_other_commands_names_no_keys_of_its_own() -> None:
    assert remarks_of({}, {"remarks": [_GARBLED]}) == [_GARBLED], "whose section has no such keys"


def test_the_page_advises_in_the_words_of_the_recipe() -> None:
    training = {"remarks": ["A higher --learning-rate=NUMBER or more --epochs=NUMBER move it."]}
    evaluation = {"remarks": ["--set benchmark.pope.suffix=TEXT asks for the form that is read."]}
    assert remarks_of(training, evaluation) == [
        "A higher `trainer.learning_rate: NUMBER` or more `trainer.num_train_epochs: NUMBER` move it.",
        "`benchmark.pope.suffix: TEXT` asks for the form that is read.",
    ]


def test_the_verdict_comes_first_details_are_folded_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = report_page(tmp_path, "pope")
    parsed = Markup(page)
    body = page[page.index("</h1>") :]
    assert body.removeprefix("</h1>").lstrip().startswith('<div class="scroll"><table class="verdict">')
    assert (
        body.index("<td>+0.027 [+0.012, +0.042]</td>") < body.index("<details>") < body.index("<td>pope accuracy</td>")
    )
    assert parsed.elements.count("details") == page.count("<details>") == 1, "none of them is open"
    assert len(parsed.addresses()) == parsed.elements.count("img") > 3
    assert all(address.startswith("data:") for address in parsed.addresses())
    assert "default-src 'none'" in page


@pytest.mark.parametrize(("base", "shown"), [(766, "766 / 777"), (777, "777")])
def test_counts_that_differ_are_shown_and_explained(base: int, shown: str, tmp_path: Path) -> None:
    report_page(tmp_path, "pope")
    file = tmp_path / "evaluate/results.json"
    found = json.loads(file.read_text())
    for row in found["results"]:
        row |= {"n": base if row["model"] == "base" else 777, "parse_failures": 0}
    file.write_text(json.dumps(found))
    page = write_report(tmp_path, *(tmp_path / name for name in ("build-dataset", "train", "evaluate"))).read_text()
    assert f"<td>{shown}</td>" in page
    assert (COUNTS_DIFFER in page) is (base != 777)
