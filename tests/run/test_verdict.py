"""A line for each benchmark: what it says, and that it fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mmpref.cli.pages.report import result_rows
from mmpref.run.asked import Asked
from mmpref.run.results import Results
from mmpref.run.verdict import LEGEND, TITLE, Line, legend, lines_of, remarks, table

Metric = dict[str, Any]


def metric(benchmark: str, name: str, change: float, width: float, **more: Any) -> Metric:
    """A metric that was 0.2, unless ``was`` says otherwise, and its change."""
    facts = {"split": "all", "higher_is_better": True, "headline": False, "was": 0.2, "p_holm": None}
    return {"benchmark": benchmark, "metric": name, "change": change, "width": width, **facts, **more}


def results(*metrics: Metric, adapter: bool = True) -> Results:
    values, differences = [], []
    for one in metrics:
        was, change, width = one["was"], one["change"], one["width"]
        plain = {key: value for key, value in one.items() if key not in ("was", "change", "width")}
        for model, value in {"base": was, "adapter": was + change}.items():
            if adapter or model == "base":
                values.append({**plain, "model": model, "value": value, "low": value - 0.1, "high": value + 0.1})
        differences.append({**plain, "value": change, "low": change - width, "high": change + width})
    return Results.from_dict({"results": values, "differences": differences if adapter else []})


POPE = [
    metric("pope", "accuracy", 0.5, 0.1, split=part, headline=part == "all", p_holm=0.3 if part == "all" else None)
    for part in ("random", "popular", "adversarial", "all")
]
CHAIR = [
    metric("chair", "chair_i", -0.05, 0.02, higher_is_better=False, headline=True, p_holm=0.001),
    metric("chair", "recall", -0.04, 0.02),
    metric("chair", "words", -2.2, 1.1, was=20.0, higher_is_better=None),
    metric("chair", "mentions", 0.1, 0.2, higher_is_better=None),
]


def test_a_benchmark_has_one_line_however_many_parts_it_has() -> None:
    chair, pope = lines_of(results(*POPE, *CHAIR))
    assert pope == Line("pope accuracy", "↑", "0.200", "0.700", "+0.500 [+0.400, +0.600]", "perhaps better")
    assert chair == Line(
        "chair chair_i", "↓", "0.200", "0.150", "-0.050 [-0.070, -0.030]", "better", "recall worse, words lower"
    )
    assert (pope.kind, chair.kind, chair.label) == ("", "better", "chair chair_i ↓")
    assert remarks([pope, chair]) == ["chair chair_i: also recall worse, words lower."]


def test_hallucination_in_free_text_stands_before_questions() -> None:
    """By what a benchmark claims, whatever its name; a fault that no claim is made on moves nothing."""
    side = metric("mmhal", "hallucination_rate", 0.0, 0.1, higher_is_better=False)
    own = metric("own", "made_up", 0.0, 0.1, higher_is_better=False, headline=True)
    recall = metric("own", "seen", 0.0, 0.1, headline=True)
    lines = lines_of(results(*POPE, metric("mmhal", "score", 0.0, 0.1, headline=True), side, recall, own, *CHAIR))
    assert [line.name for line in lines] == ["own seen", "own made_up", "chair chair_i", "pope accuracy", "mmhal score"]


def test_other_metrics_are_named_by_the_rule_of_headlines() -> None:
    """4 of 4 changed answers got worse: the interval excludes 0, and McNemar's exact p is 0.125."""
    side = metric("mmhal", "hallucination_rate", 0.04, 0.03, higher_is_better=False, p=0.125)
    [line] = lines_of(results(metric("mmhal", "score", 0.0, 0.1, headline=True, p=0.9, p_holm=0.9), side))
    assert line.also == "hallucination_rate perhaps worse"
    rows = results(side).table()[1]
    assert rows[0][4] == "perhaps worse"
    [line] = lines_of(results(metric("mmhal", "score", 0.0, 0.1, headline=True), {**side, "p": 0.03}))
    assert line.also == "hallucination_rate worse"


def test_a_base_alone_has_its_values() -> None:
    lines = lines_of(results(*POPE, *CHAIR, adapter=False))
    assert table(lines) == (
        ["benchmark", "value [95 % interval]"],
        [["chair chair_i ↓", "0.200 [0.100, 0.300]"], ["pope accuracy ↑", "0.200 [0.100, 0.300]"]],
    )
    assert remarks(lines) == []


def test_what_was_not_tested_is_said() -> None:
    content = results(CHAIR[0]).as_dict()
    other = Results.from_dict({**content, "differences": []})
    [line] = lines_of(other)
    assert (line.first, line.second, line.difference, line.verdict) == ("0.200", "0.150", "–", "not tested")


@pytest.mark.parametrize("split", ["all", "caption"])
def test_a_benchmark_without_claims_shows_a_metric_of_the_whole(split: str) -> None:
    [line] = lines_of(results(metric("own", "words", 0.0, 0.1, split=split), metric("own", "right", 0.0, 0.1)))
    assert line.name == ("own words" if split == "all" else "own right")


def test_a_judges_name_and_settings_are_left_to_the_details() -> None:
    [line] = lines_of(results(metric("mmhal", "score@http://host/v1#judge/1234/t0/single", 1.0, 0.1, was=12.0)))
    assert line.name == "mmhal score"
    assert line.difference == "+1.0 [+0.9, +1.1]"


def test_every_line_fits_80_columns() -> None:
    columns, rows = table(lines_of(results(*POPE, *CHAIR)))
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    assert sum(widths) + 2 * (len(widths) - 1) <= 80
    assert len(TITLE) <= 80
    assert "perhaps" in LEGEND


@pytest.mark.parametrize(("seen", "cell", "kind"), [(0, "better", "better"), (3, "better (trained on)", "")])
def test_a_verdict_on_images_of_the_training_is_marked_where_it_stands(seen: int, cell: str, kind: str) -> None:
    asked = {"chair": Asked("chair", "chair", images=3, trained_on=seen)}
    (line,) = lines = lines_of(replace(results(*CHAIR), asked=asked))
    assert table(lines)[1][0][-1] == cell
    assert replace(results(*CHAIR), asked=asked).table(brief=True)[1][0][4] == cell.replace("better", "better**")
    assert result_rows(replace(results(*CHAIR), asked=asked))[0]["kind"] == kind
    assert line.kind == kind
    assert ("(trained on): some or all of the images" in legend(lines)) == bool(seen)


def test_to_be_worse_even_there_stays_worse() -> None:
    asked = {"chair": Asked("chair", "chair", trained_on=1)}
    worse = metric("chair", "chair_i", 0.1, 0.02, higher_is_better=False, headline=True, p_holm=0.001)
    (line,) = lines_of(replace(results(worse), asked=asked))
    assert (line.kind, line.marked_verdict) == ("worse", "worse (trained on)")
