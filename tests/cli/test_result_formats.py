"""Values, intervals and p-values to the letter, wherever they are shown."""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import Any

import pytest

from mmpref.cli.format import print_results
from mmpref.cli.pages.report import result_rows
from mmpref.hub.cards.results_table import lines_of, read_lines, results_block
from mmpref.run.results import Results
from mmpref.run.results_text import COUNTS_DIFFER


@pytest.fixture
def results() -> Results:
    def row(metric: str, part: str, value: float, width: float, **more: Any) -> dict[str, Any]:
        numbers = {"value": value, "low": value - width, "high": value + width}
        return {"benchmark": "pope", "split": part, "metric": metric, **numbers, "higher_is_better": True, **more}

    return Results.from_dict(
        {
            "results": [
                row("accuracy", "all", 0.9, 0.05, n=3000, model="base", parse_failures=2),
                row("words", "random", 20.0614, 0.4, n=30, model="base"),
                row("accuracy", "all", 0.8, 0.05, n=3000, model="adapter"),
                row("words", "random", 21.0, 0.4, n=30, model="adapter"),
            ],
            "asked": {"pope": {"benchmark": "pope", "label": "pope", "official": True}},
            "differences": [
                row("accuracy", "all", -0.1, 0.02, p=0.0001, p_holm=0.0002),
                row("words", "random", 0.9386, 1.0, p=0.25),
            ],
        }
    )


def test_on_the_screen(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    print_results(results)
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown[:3] == [
        "verdict: difference [95 % interval]",
        "benchmark base adapter difference verdict",
        "pope accuracy ↑ 0.900 0.800 -0.100 [-0.120, -0.080] worse",
    ]
    assert shown[3].startswith("better, worse: the interval of the difference excludes 0")
    assert shown[4:] == [
        "",
        "evaluation: value [95 % interval]",
        "metric base adapter difference change p n unparsed",
        "pope accuracy 0.900 [0.850, 0.950] 0.800 [0.750, 0.850] -0.100 [-0.120, -0.080] worse*** <0.001 Holm*** 3000 "
        "2 / 0",
        "pope words random 20.1 [19.7, 20.5] 21.0 [20.6, 21.4] +0.9 [-0.1, +1.9] 0.250 30 0",
        "Counts that differ are written base / adapter.",
        shown[-1],
    ]
    assert shown[-1].startswith("p: McNemar's exact test")


def test_80_columns_hold_every_line(
    results: Results, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_results(results)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    shown = [" ".join(line.split()) for line in lines]
    assert "metric base adapter difference change n" in shown
    assert "pope accuracy 0.900 0.800 -0.100 [-0.120, -0.080] worse*** 3000" in shown
    legend = " ".join(shown)
    assert "Counts that differ" not in legend, "none that is shown does"
    assert "McNemar" not in legend, "no p is shown"
    assert "Stars: p of headline metrics (1 here): corrected by Holm's method" in legend


def test_in_the_report(results: Results) -> None:
    accuracy, words = result_rows(results)
    assert accuracy == {
        "name": "pope accuracy",
        "cells": ["0.900 [0.850, 0.950]", "0.800 [0.750, 0.850]", "-0.100 [-0.120, -0.080]"],
        "kind": "worse",
        "mark": "worse***",
        "n": "3000",
        "unparsed": "2 / 0",
    }
    assert words["name"] == "pope words (random)"
    assert words["mark"] == ""


def test_what_was_not_compared_is_no_row_of_the_report(results: Results) -> None:
    only_base = dataclasses.replace(results, values=tuple(value for value in results.values if value.model == "base"))
    assert result_rows(only_base) == []
    assert result_rows(dataclasses.replace(results, differences=())) == []


def test_in_a_card(results: Results) -> None:
    lines = results_block(lines_of(results)).splitlines()
    assert (
        r"| pope, accuracy ↑ | 0.900 [0.850, 0.950] | 0.800 [0.750, 0.850] | -0.100 [-0.120, -0.080] \*\*\* "
        "| 3,000 |"
    ) in lines
    assert "| pope (random), words ↑ | 20.1 [19.7, 20.5] | 21.0 [20.6, 21.4] | +0.9 [-0.1, +1.9] | 30 |" in lines


def test_counts_that_differ_are_told_of_both_models(results: Results) -> None:
    values = tuple(dataclasses.replace(value, n=2990) if value.model == "base" else value for value in results.values)
    differing = dataclasses.replace(results, values=values)
    assert [row["n"] for row in result_rows(differing)] == ["2990 / 3000", "2990 / 30"]
    lines = lines_of(differing)
    block = results_block(lines)
    assert r"-0.100 [-0.120, -0.080] \*\*\* | 2,990 / 3,000 |" in block
    assert COUNTS_DIFFER in block.splitlines()
    assert COUNTS_DIFFER not in results_block(lines_of(results))
    assert [line.base_n for line in read_lines(block)] == [line.base_n for line in lines] == [2990, 2990]
