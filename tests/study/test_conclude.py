"""What a study comes to: judged metrics are found by their plain names, and claims that cannot be judged are told."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path

import numpy as np
import pytest

from mmpref.cli.pages.study import markdown, page
from mmpref.run.results import ALL, Key
from mmpref.study.conclude import conclude
from mmpref.study.grid import Grid
from mmpref.study.measurement import Failure, ImageCounts, Measurement, MetricValue
from mmpref.study.plan import load
from tests.study.ledgers import claim, measured, plan_of

REPOSITORY = Path(__file__).parents[2]
SCORE = "relative_score@oracle/ab12/t0/reference-first"
QUALITY = {"metric": "llava-wild relative_score", "split": "test", "direction": "higher", "margin": 1}


def _judged(row: str, base: int, scores: list[int], metric: str = SCORE) -> Measurement:
    counts = [{"all/model": float(score), "all/gpt": 10.0, "all/n": 1.0} for score in scores]
    of = ImageCounts.collect([f"image-{index}" for index in range(len(scores))], counts)[0]
    value = MetricValue(Key("llava-wild", metric, ALL), 10.0 * float(np.mean(scores)), len(scores), True)
    run = measured(row, 0.2, base)
    return dataclasses.replace(run, values=(*run.values, value), counts={**run.counts, "llava-wild": of})


def test_a_claim_on_a_judged_metric_needs_no_judge_in_its_name(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["bdhs"], [claim("1", {"row": "bdhs", **QUALITY})])
    runs = [_judged("base", base, [4, 5, 6, 5] * 5) for base in range(3)]
    runs += [_judged("bdhs", base, [7, 9, 9, 7] * 5) for base in range(3)]
    concluded = conclude(plan, runs)
    (effect,) = concluded.claims[0].effects
    assert effect is not None
    assert effect.key == Key("llava-wild", SCORE, ALL)
    assert effect.value == pytest.approx(30.0)
    assert concluded.claims[0].verdict.outcome == "holds"
    assert runs[0].value("llava-wild relative_score").value == pytest.approx(50.0)
    assert not concluded.warnings


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("chair recal", "where there is of chair only chair_i, chair_s, recall"),
        ("mmhal score", "where there is nothing but chair, pope"),
    ],
)
def test_a_claim_on_a_metric_that_is_not_measured_there_is_told(tmp_path: Path, metric: str, words: str) -> None:
    plan = plan_of(tmp_path, ["bdhs"], [claim("1", {"row": "bdhs", "metric": metric, "direction": "higher"})])
    runs = [measured(row, 0.2, base) for row in ("base", "bdhs") for base in range(2)]
    (warning,) = conclude(plan, runs).warnings
    assert f"Claim '1' goes by {metric} on test, {words}" in warning
    assert conclude(plan, runs).claims[0].verdict.outcome == "not run"
    assert not conclude(plan, []).warnings, "of what was not measured at all nothing is said"


def test_what_a_plan_names_stands_in_the_table(tmp_path: Path) -> None:
    """Of benchmarks in parts tables have the whole; a claim may be on what is hidden then."""
    claims = [claim("1", {"row": "bdhs", "metric": "chair chair_s", "direction": "lower"})]
    runs = [measured(row, 0.2, base) for row in ("base", "bdhs") for base in range(2)]
    tables = [conclude(plan_of(tmp_path, ["bdhs"], named), runs).tables[0] for named in (claims, [])]
    assert [Key("chair", "chair_s", ALL) in table.keys for table in tables] == [True, False]


def test_rows_say_how_many_bases_they_are_over(tmp_path: Path) -> None:
    """A row of one base beside one of three: its value is of another base than the mean of three."""
    runs = [measured("base", 0.2, base) for base in range(3)]
    runs += [measured("bdhs", 0.1, 0, seed) for seed in range(2)]
    conclusions = conclude(plan_of(tmp_path, ["bdhs"]), runs)
    assert [line.over for line in conclusions.tables[0].lines] == ["3 bases x 1 seed", "1 base x 2 seeds"]
    assert "| bdhs | 1 base x 2 seeds | " in markdown(conclusions)
    assert page(conclusions).count("<td>bdhs</td><td>1 base x 2 seeds</td>") == 2


def test_the_markdown_page_warns_as_the_other_does(tmp_path: Path) -> None:
    odd = claim("1", {"row": "bdhs", "metric": "chair recal", "direction": "higher"})
    plan = plan_of(tmp_path, ["bdhs", "worse"], [odd])
    grid = Grid({"trainer.learning_rate": [1, 2]}, "chair chair_i", "chair recall")
    rows = {**plan.rows, "worse": dataclasses.replace(plan.rows["worse"], grid=grid)}
    runs = [measured(row, 0.2, base) for row in ("base", "bdhs") for base in range(2)]
    point = {"point": {"trainer.learning_rate": 1}, "outside": True}
    runs += [measured("worse", 0.5, **point), measured("worse", 0.5, split="dev", is_grid_point=True, **point)]
    failure = Failure("bdhs", 2, 0, {}, False, "no memory")
    conclusions = conclude(dataclasses.replace(plan, rows=rows), runs, [failure])
    text = html.unescape(markdown(conclusions))
    assert "; 1 failed." in text
    assert "**Warning.** Claim '1' goes by chair recal on test" in text
    assert text.endswith("the one that kept most was taken. That is so of worse.\n")


def test_kl_is_over_bases_as_values_are(tmp_path: Path) -> None:
    """A base with more seeds counts once."""
    runs = [measured("base", 0.2, base) for base in range(2)] + [measured("bdhs", 0.1, 1, kl=0.5)]
    runs += [measured("bdhs", 0.1, 0, seed, kl=0.125) for seed in range(3)]
    lines = conclude(plan_of(tmp_path, ["bdhs"]), runs).tables[0].lines
    assert [line.kl for line in lines] == [None, 0.3125]


def test_of_several_judges_one_is_taken_and_it_is_told(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["bdhs"], [claim("1", {"row": "bdhs", **QUALITY})])
    runs = [_judged(row, base, [5] * 20) for row in ("base", "bdhs") for base in range(2)]
    runs += [_judged("bdhs", 2, [5] * 20, "relative_score@other/cd34/t0/reference-first")]
    concluded = conclude(plan, runs)
    assert "which several have judged: only what oracle/ab12/t0/reference-first says is taken" in concluded.warnings[0]
    (effect,) = concluded.claims[0].effects
    assert effect is not None
    assert effect.bases == (0, 1)


def test_every_claim_of_the_recorded_study_is_on_what_was_measured() -> None:
    from mmpref.study.measurement import Ledger

    plan = load("study")
    measurements = Ledger.read(REPOSITORY / "model_cards/study/ledger")
    concluded = conclude(plan, measurements)
    assert not concluded.warnings
    has = {(one.row, one.split) for one in measurements if not one.is_grid_point}
    for one in concluded.claims:
        for compared, effect in zip(one.verdict.claim.effects, one.effects, strict=True):
            rows = (compared.row, compared.against or "base")
            if all((row, compared.split) in has for row in rows):
                assert effect is not None, f"claim {one.verdict.claim.id}: {compared}"
