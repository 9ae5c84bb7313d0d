"""Answers that a benchmark cannot read: what is said of them, and what is claimed of metrics that count them."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mmpref.bench.benchmarks.amber import BENCHMARK, AmberSettings
from mmpref.bench.compare import compare
from mmpref.bench.evaluate import evaluate
from mmpref.bench.plan import Plan, load_plan
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.replies import read_replies
from mmpref.bench.results import Outcome, metric_value
from mmpref.bench.score import score_replies
from mmpref.bench.undefined import undefined
from mmpref.bench.unread import unread
from mmpref.errors import InputError
from mmpref.hub.cards.results_table import lines_of, read_lines, results_block
from mmpref.hub.cards.verdict import limits, opening, verdict_tags
from mmpref.reasoning import MARKERS
from mmpref.run import verdict
from mmpref.run.results import ALL, Key, Results, Value
from mmpref.tables.open import open_table
from tests.bench.conftest import png, pope_row, write_rows
from tests.judges.server import ChatServer


def _results(unread_of: dict[str, int], metric: str = "f1_no") -> Results:
    row = {"benchmark": "amber", "split": "all", "metric": metric, "headline": True, "higher_is_better": True}
    numbers = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 240, "answers": 240}
    values = [{**row, **numbers, "model": model, "parse_failures": unread_of[model]} for model in ("base", "adapter")]
    is_form = any(Value.from_dict(one).is_form for one in values)
    difference = {**row, "value": 0.2, "low": 0.1, "high": 0.3, "p_holm": 0.01, "is_form": is_form}
    return Results.from_dict({"results": values, "differences": [difference]})


PLAN = cast(Plan, SimpleNamespace(label="amber", name="amber", settings=AmberSettings(relation="words.json")))


def test_most_answers_unread_warns_and_names_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    values = _results({"base": 240, "adapter": 130}).values
    [remark] = unread(values, [PLAN])
    assert remark == (
        "amber f1_no: answers that could not be read: 240 of 240 of base (100.0%), 130 of 240 of adapter (54.2%). It "
        "measures the form of answers, not what they say. --set benchmark.amber.suffix=TEXT asks for the form that is "
        "read."
    )
    assert f"Warning: {remark}" in caplog.text


def test_some_answers_unread_are_a_remark(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    [remark] = unread(_results({"base": 24, "adapter": 25}).values, [PLAN])
    assert remark == (
        "amber f1_no: answers that could not be read: 24 of 240 of base (10.0%), 25 of 240 of adapter (10.4%). "
        "--set benchmark.amber.suffix=TEXT asks for the form that is read."
    )
    assert not caplog.text
    assert unread(_results({"base": 24, "adapter": 0}).values, [PLAN]) == []


def test_of_own_data_another_language_may_be_why() -> None:
    values = _results({"base": 240, "adapter": 240}).values
    settings = AmberSettings(data="own.jsonl", relation="words.json")
    for given, named in ((settings, True), (replace(settings, yes_words=("ja",), no_words=("nein",)), False)):
        [remark] = unread(values, [cast(Plan, SimpleNamespace(label="amber", name="amber", settings=given))])
        assert ("--set benchmark.amber.yes_words=WORD" in remark) is named


@pytest.mark.parametrize(("base", "adapter"), [(2, 217), (2, 30), (50, 101)])
def test_answers_that_only_the_adapter_garbles_are_no_matter_of_the_prompt(
    base: int, adapter: int, caplog: pytest.LogCaptureFixture
) -> None:
    [remark] = unread(_results({"base": base, "adapter": adapter}).values, [PLAN])
    assert f"{base} of 240 of base ({base / 240:.1%}), {adapter} of 240 of adapter ({adapter / 240:.1%})" in remark
    assert "it is the adapter that garbles them, not the prompt" in remark
    assert "samples/adapter-amber.parquet" in remark
    assert "suffix" not in remark
    assert f"Warning: {remark}" in caplog.text


def test_a_card_says_that_an_adapter_garbles_answers() -> None:
    lines = lines_of(_results({"base": 2, "adapter": 217}))
    said = (
        "Of its answers could not be read: data not recorded, scored like amber, f1&#95;no (90.4%, of its base's 0.8%)."
    )
    assert said in opening(lines)
    assert said in limits(lines)
    assert read_lines(results_block(lines)) == lines, "another run adds to the card"
    for base, adapter in ((217, 217), (2, 2), (2, 24), (217, 2), (24, 25), (100, 130)):
        unreadable = {"base": base, "adapter": adapter}
        assert "garbles" not in opening(lines_of(_results(unreadable)))


def test_the_verdict_is_of_form() -> None:
    lines = verdict.lines_of(_results({"base": 121, "adapter": 0}))
    assert [line.verdict for line in lines] == ["form only"]
    assert verdict.legend(lines).endswith(
        "form only: most answers could not be read, so that it measures their form, not content."
    )
    lines = verdict.lines_of(_results({"base": 120, "adapter": 0}))
    assert [line.verdict for line in lines] == ["better"]
    assert verdict.legend(lines) == verdict.LEGEND


def test_a_card_claims_nothing_of_form() -> None:
    lines = lines_of(_results({"base": 240, "adapter": 240}))
    said = opening(lines)
    assert "whether it is better cannot be told" in said
    assert re.search("Most answers to .*amber, f1.*no could not be read: it measures their form, not content", said)
    assert "could not be read" in limits(lines)
    assert "cannot tell it from its base" not in limits(lines)
    assert verdict_tags(lines) == []
    assert [line.is_form for line in read_lines(results_block(lines))] == [True], "another run adds to the card"
    assert "better-than-base" in verdict_tags(lines_of(_results({"base": 0, "adapter": 0})))


@pytest.fixture
def amber(tmp_path: Path) -> Plan:
    """Two questions."""
    (tmp_path / "a.png").write_bytes(png("red"))
    (tmp_path / "words.json").write_text("{}")
    rows: list[dict[str, Any]] = [
        {"id": number, "image": "a.png", "query": "Is there?", "type": "discriminative-hallucination", "truth": truth}
        for number, truth in enumerate(("yes", "no"))
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    settings = AmberSettings(data=str(tmp_path / "rows.json"), relation=str(tmp_path / "words.json"))
    task, table = BENCHMARK.task(settings), open_table(str(tmp_path / "rows.json"))
    return Plan("amber", "amber", settings, task, table, task.samples(table, None))


def _values(plan: Plan, answers: list[str]) -> dict[str, Value]:
    scores = [plan.task.score(sample, answer) for sample, answer in zip(plan.samples, answers, strict=True)]
    outcome, found = Outcome(plan, scores, frozenset(), answers), {}
    for metric in plan.task.metrics(scores):
        if metric.part == ALL:
            found[metric.name] = metric_value(metric, "base", outcome.clusters, outcome, 0, None)
    return found


def test_every_metric_counts_what_its_own_reading_could_not_read(amber: Plan) -> None:
    found = _values(amber, ["Yes, there is a bed.", "Perhaps."])
    counts = {name: (value.parse_failures, value.answers) for name, value in found.items()}
    assert counts == {
        "accuracy": (2, 2),
        "accuracy_read": (1, 2),
        "precision_no": (2, 2),
        "recall_no": (2, 2),
        "f1_no": (2, 2),
    }


def test_what_is_over_nothing_because_nothing_was_read_so_says_so(amber: Plan) -> None:
    scores = [amber.task.score(sample, answer) for sample, answer in zip(amber.samples, ["Yes.", "No."], strict=True)]
    values = _values(amber, ["Yes.", "No."])
    reasons = {values[metric.name].key: metric.empty for metric in amber.task.metrics(scores) if metric.part == ALL}
    [said] = undefined(values.values(), reasons)
    assert said == "amber: precision_no cannot be told of base: none of the answers was read as one that it is over."


def test_nowhere_is_a_claim_made_on_form(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = [
        {**pope_row(number, "a.png", answer="no"), "question": f"Is there a thing {number}?"} for number in range(8)
    ]
    data = {"pope": {"data": str(write_rows(tmp_path / "rows.jsonl", rows)), "max_new_tokens": 4}}
    with ChatServer(lambda body, _: "maybe" if body["model"] == "base" else "no") as server:
        base, adapter = (f"{server.url}#{name}" for name in ("base", "adapter"))
        evaluate(EvaluateRecipe(base, ("pope",), adapter=adapter, benchmark=data), tmp_path / "run")
        evaluate(EvaluateRecipe(adapter, ("pope",), adapter=base, benchmark=data), tmp_path / "lost")
    lost = Results.read(tmp_path / "lost").differences_by_key()[Key("pope", "accuracy", ALL)]
    assert (lost.is_form, lost.direction) == (False, "worse"), "an adapter that lost the form is worse"
    results, compared = Results.read(tmp_path / "run"), compare([tmp_path / "run"], margins={"pope": 0.5})
    own = results.differences_by_key()[Key("pope", "accuracy", ALL)]
    assert own.low > 0
    assert (own.verdict, own.mark, own.p_holm) == ("form only", "", None)
    assert own in [second for _, second in compared.tests]
    assert [row.verdict for row in compared.no_worse] == ["cannot tell"]
    columns, cells = results.table()
    assert {row[columns.index("change")] for row in cells} == {""}
    assert [line.verdict for line in verdict.lines_of(results)] == ["form only"]
    assert [line.p for line in lines_of(results) if line.headline] == [None]


@pytest.mark.parametrize(("lost", "counts"), [(False, (8, 4)), (True, (6, 3))])
def test_every_answer_to_a_group_counts(tmp_path: Path, lost: bool, counts: tuple[int, int]) -> None:
    """Of MMVP's pairs the second answers are garbled; a pair without one of its answers is missing as a whole."""
    rows = [
        {"question": f"Is it {number}?", "options": "(a) yes (b) no", "answer": "(a)", "image": f"{number}.png"}
        for number in range(8)
    ]
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(png("red"))
    plan = load_plan("mmvp", "mmvp", {"data": str(write_rows(tmp_path / "rows.jsonl", rows))}, None)
    said = ["A", "The wings."] * 3 + [InputError("No answer.") if lost else "A", "The wings."]
    outcome = score_replies(plan, read_replies(said, plan, MARKERS))
    pairs, single = plan.task.metrics([score for _, score in outcome.answered])
    value, other = (metric_value(one, "base", outcome.clusters, outcome, 0, None) for one in (pairs, single))
    assert value.n == (3 if lost else 4)
    assert (value.answers, value.parse_failures) == counts
    assert (other.answers, other.parse_failures) == ((7, 4) if lost else (8, 4))
