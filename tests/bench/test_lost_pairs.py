"""Samples that one model alone has a score of: one rule for a run, its page, its card, and comparisons of several."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCardData

from mmpref.bench.compare import compare
from mmpref.bench.evaluate import evaluate
from mmpref.bench.finished_model import read_finished
from mmpref.bench.paired import Row, pairs_of
from mmpref.bench.power import spreads
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.records import records_path
from mmpref.cli.format import comparison_over, comparison_verdict, print_results
from mmpref.hub.cards.model_index import model_index
from mmpref.hub.cards.results_table import lines_of, read_lines, results_block
from mmpref.hub.cards.samples import samples_card
from mmpref.hub.cards.verdict import limits, opening, outcome, verdict_tags
from mmpref.run import verdict
from mmpref.run.results import Key, Results
from tests.bench.finished_runs import finished_run
from tests.judges.server import ChatServer, text_of

from .conftest import png, pope_row, write_rows

QUESTIONS = 60
ACCURACY = Key("pope", "accuracy", "all")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """A third of the questions in each part; every image has two."""
    rows = []
    for number in range(QUESTIONS):
        (tmp_path / f"{number // 2}.png").write_bytes(png(f"rgb({number // 2},0,0)"))
        part = ("random", "popular", "adversarial")[number % 3]
        row = pope_row(number, f"{number // 2}.png", part, answer="no")
        rows.append({**row, "image_source": str(number // 2), "question": f"Is there a thing {number}, or none?"})
    return {"pope": {"data": str(write_rows(tmp_path / "test.jsonl", rows)), "max_new_tokens": 4}}


Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def evaluated(data: dict[str, Any]) -> Iterator[Evaluate]:
    """Evaluates what a server has, given the questions that base and adapter come to no answer to. Its base is right on
    all but the first 24, its adapter on all but the first 6."""

    def answer(body: Any, _: int) -> str:
        number = text_of(body).split("thing ")[1].split(",")[0]
        name, *lost = body["model"].split("-")
        if number in lost:
            return "<think>"
        return "yes" if int(number) < (24 if name == "base" else 6) else "no"

    with ChatServer(answer) as server:

        def run(output: Path, base_lost: Collection[int], adapter_lost: Collection[int] | None) -> dict[str, Any]:
            base, adapter = (
                None if lost is None else f"{server.url}#{'-'.join([name, *map(str, lost)])}"
                for name, lost in (("base", base_lost), ("adapter", adapter_lost))
            )
            return evaluate(EvaluateRecipe(str(base), ("pope",), adapter=adapter, benchmark=data), output)

        yield run


def test_values_difference_and_counts_of_a_run_are_of_the_same_pairs(
    evaluated: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(tmp_path / "run", {0, 1}, {0, 58, 59})
    assert found["missing"] == {"pope": {"base": 2, "adapter": 3}}
    results = Results.read(tmp_path / "run")
    base, adapter = (results.by_key(model) for model in ("base", "adapter"))
    for key, change in results.differences_by_key().items():
        assert change.value == pytest.approx(adapter[key].value - base[key].value), key
        assert (change.first, change.second) == (base[key].value, adapter[key].value)
        assert (change.pairs, change.lost) == (56, 4)
        assert base[key].images == adapter[key].images == change.images == 28
    assert (base[ACCURACY].n, adapter[ACCURACY].n, base[ACCURACY].missing) == (56, 56, 4)
    assert base[ACCURACY].value == pytest.approx(34 / 56)
    print_results(results, found)
    shown = capsys.readouterr().out
    assert "better" in shown
    assert "pope 28 images" in shown
    assert "4 of 60 pairs have no score of both models; values and difference are over the other 56." in shown


def test_a_comparison_says_of_a_run_what_the_run_says(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated(tmp_path / "run", {0, 1}, {0, 58, 59})
    results, found = Results.read(tmp_path / "run"), compare([tmp_path / "run"])
    assert found.warnings == ()
    assert {key: test for (key, _), (_, test) in zip(found.rows, found.tests, strict=True)} == (
        results.differences_by_key()
    )
    lines, _, _ = comparison_verdict(found)
    assert lines == verdict.lines_of(results)
    assert "pope 28 images" in comparison_over(found)
    assert spreads([tmp_path / "run"])[0].images == 28


def test_models_of_several_runs_are_tested_on_their_pairs_too(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated(tmp_path / "both", {0, 1}, {0, 58, 59})
    evaluated(tmp_path / "base", {0, 1}, None)
    evaluated(tmp_path / "other", {0, 1}, {2})
    own = Results.read(tmp_path / "both").differences_by_key()
    found = compare([tmp_path / "base", tmp_path / "both", tmp_path / "other"])
    assert found.models[0] == "other, both, base: base", "which samples results are over makes no other base"
    assert found.warnings == ()
    for (key, _), (_, both, other) in zip(found.rows, found.tests, strict=True):
        assert both is not None
        assert other is not None
        for name in ("value", "low", "high", "p", "first", "second", "images", "pairs", "lost"):
            assert getattr(both, name) == getattr(own[key], name), (key, name)
        assert (other.pairs, other.lost) == (57, 3)
    lines, _, rows = comparison_verdict(found)
    assert rows[0][1:3] == [f"{34 / 56:.3f}", f"{52 / 56:.3f}"]
    assert [line.lost for line in lines] == [4, 3]
    assert "pope 28 to 29 images" in comparison_over(found)


def test_runs_whose_metrics_cannot_be_made_again_are_not_tested(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated(tmp_path / "one", {0}, None)
    evaluated(tmp_path / "two", {1}, None)
    manifest = json.loads((tmp_path / "two/run.json").read_text())
    manifest["recipe"]["benchmark"]["pope"]["nothing"] = 1
    (tmp_path / "two/run.json").write_text(json.dumps(manifest))
    found = compare([tmp_path / "one", tmp_path / "two"])
    assert not any(any(tests) for tests in found.tests)
    [warning] = found.warnings
    assert "(1 of one: base, 1 of two: base), and not the same ones" in warning
    assert "nothing" in warning


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (("two",), "pope accuracy adversarial of two: base cannot be made again of its records."),
        (("one", "two"), "the metrics of this version take other counts than the records of these runs have."),
    ],
)
def test_runs_whose_records_lack_counts_are_not_tested(
    evaluated: Evaluate, tmp_path: Path, runs: tuple[str, ...], reason: str
) -> None:
    evaluated(tmp_path / "one", {0}, None)
    evaluated(tmp_path / "two", {1}, None)
    for run in runs:
        file = records_path(tmp_path / run, "base", "pope")
        rows = pq.read_table(file).to_pylist()
        for row in rows:
            row["counts"] = json.dumps(
                {name: n for name, n in json.loads(row["counts"]).items() if "/right" not in name}
            )
        pq.write_table(pa.Table.from_pylist(rows), file)
    found = compare([tmp_path / "one", tmp_path / "two"])
    assert not any(any(tests) for tests in found.tests)
    assert [warning.partition("against each other: ")[2] for warning in found.warnings] == [reason]


def test_where_many_pairs_are_lost_nobody_gives_a_verdict(
    evaluated: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(tmp_path / "run", (), range(53, 60))
    results = Results.read(tmp_path / "run")
    change = results.differences_by_key()[ACCURACY]
    assert change.low > 0
    assert (change.pairs, change.lost, change.p_holm) == (53, 7, None)
    print_results(results, found)
    shown = capsys.readouterr().out
    assert "cannot tell" in shown
    assert "better*" not in shown
    said = "7 of 60 pairs have no score of both models; values and difference are over the other 53, too few"
    assert f"pope accuracy: {said} for a verdict" in shown
    compared = compare([tmp_path / "run"], margins={"pope": 0.5})
    assert [line.verdict for line in comparison_verdict(compared)[0]] == ["cannot tell"]
    assert [row.verdict for row in compared.no_worse] == ["cannot tell"]
    lines = lines_of(results)
    card = results_block(lines)
    assert said in card
    for shown_lines in (lines, read_lines(card)):
        assert [outcome(line) for line in shown_lines if line.headline] == ["cannot tell"]
        assert "**cannot tell** on" in opening(shown_lines)
        assert "also" not in opening(shown_lines)
        assert "cannot tell it from its base" in limits(shown_lines)
        assert verdict_tags(shown_lines) == []
    [entry] = [one for one in model_index("m", results)[0]["results"] if one["dataset"]["split"] == "all"]
    assert {metric["type"]: metric["value"] for metric in entry["metrics"]}["accuracy"] == change.second


def test_the_tenth_pair_that_is_lost_is_one_too_many(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated(tmp_path / "run", (), range(54, 60))
    assert Results.read(tmp_path / "run").differences_by_key()[ACCURACY].verdict == "better"


def test_of_no_pair_at_all_nothing_can_be_told(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated(tmp_path / "run", range(30), range(30, 60))
    [line] = verdict.lines_of(Results.read(tmp_path / "run"))
    assert (line.first, line.second, line.difference, line.verdict) == ("–", "–", "–", "cannot tell")
    assert (line.pairs, line.lost) == (0, 60)
    assert comparison_verdict(compare([tmp_path / "run"]))[0] == [line]


def test_the_card_of_the_records_says_what_each_model_lacks(evaluated: Evaluate, tmp_path: Path) -> None:
    found = evaluated(tmp_path / "run", (), {2, 3})
    files = sorted((tmp_path / "run/samples").glob("*.parquet"))
    card = samples_card(files, found, Results.read(tmp_path / "run"), "me/records")
    assert "base 0, adapter 2" in card
    old = samples_card(files, {**found, "missing": {"pope": 0}}, Results.read(tmp_path / "run"), "me/records")
    assert "base 0 |" in old


def test_the_index_of_a_card_says_how_many_questions_a_part_has(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated(tmp_path / "run", {0}, {4})
    index = model_index("m", Results.read(tmp_path / "run"))
    facts = {entry["dataset"]["split"]: entry["dataset"]["args"] for entry in index[0]["results"]}
    assert {part: args["questions"] for part, args in facts.items()} == {
        "all": 60,
        **dict.fromkeys(("random", "popular", "adversarial"), 20),
    }
    read = ModelCardData(**{"model-index": index}).eval_results
    over = {entry.dataset_split: entry.metric_args for entry in read or () if entry.metric_type == "accuracy"}
    assert over == {
        "all": {"n": 58, "missing": 2},
        "random": {"n": 19, "missing": 1},
        "popular": {"n": 19, "missing": 1},
        "adversarial": {"n": 20},
    }


def test_a_metric_of_groups_loses_those_that_lack_one() -> None:
    def rows(*missing: int) -> list[Row]:
        groups = [{"all/pair": str(number // 2)} if number < 8 else {} for number in range(9)]
        return [Row(str(n), "one", n not in (5, 6), n in missing, groups[n]) for n in range(9)]

    kept = frozenset("01347" + "8")
    alone, pairs, images = (pairs_of(rows(2, 5, 6), rows(5, 6), kept, f"all/{name}n") for name in ("", "pair/", "im/"))
    assert (alone.kept, alone.lost) == (kept, 1), "5 and 6 nobody answered: they are no pairs that were lost"
    assert (pairs.kept, pairs.lost) == ({"0", "1", "8"}, 2), "4 and 7 lack those, and are no pairs of groups either"
    assert images == alone


FIGURES = [("VD", "1", figure, question) for figure in range(3) for question in range(3)]
FIGURES += [("VS", "2", figure, question) for figure in range(3) for question in range(2)]
"""HallusionBench's questions: two sets; the first figure of VS is none, and counts in qAcc alone."""
LOST = 1
"""The question that the adapter comes to no answer to: the second one about the first figure of VD."""


def _groups(number: int) -> dict[str, object]:
    kind, _, figure, question = FIGURES[number]
    own = {"aAcc": number, "qAcc": (kind, question)}
    return own if (kind, figure) == ("VS", 0) else {**own, "fAcc": (kind, figure)}


def _by_hand(wrong: Collection[int], lost: Collection[int], part: str = "all") -> dict[str, tuple[int, int]]:
    """How many groups of each metric are right, and how many there are, without those that lack a question."""
    found = {}
    for name in ("aAcc", "fAcc", "qAcc"):
        groups: dict[object, list[int]] = {}
        for number, (kind, *_) in enumerate(FIGURES):
            if part in ("all", kind) and name in _groups(number):
                groups.setdefault(_groups(number)[name], []).append(number)
        whole = [members for members in groups.values() if not {*members} & {*lost}]
        found[name] = (sum(not {*members} & {*wrong} for members in whole), len(whole))
    return found


@pytest.fixture
def figures(tmp_path: Path) -> Iterator[Evaluate]:
    """As `evaluated`, of HallusionBench: base is wrong on the first and the last question, its adapter on neither."""
    rows = [
        {
            "category": kind,
            "subcategory": "chart",
            "set_id": group,
            "figure_id": str(figure),
            "question_id": str(question),
            "question": f"Is there a thing {number}, or none?",
            "visual_input": "1",
            "gt_answer": "1",
            "image": {"bytes": png("red"), "path": None},
        }
        for number, (kind, group, figure, question) in enumerate(FIGURES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "figures.parquet")
    block = {"data": str(tmp_path / "figures.parquet"), "non_image_split": None, "max_new_tokens": 4}

    def answer(body: Any, _: int) -> str:
        number = text_of(body).split("thing ")[1].split(",")[0]
        name, *lost = body["model"].split("-")
        if number in lost:
            return "<think>"
        return "no" if name == "base" and int(number) in (0, len(FIGURES) - 1) else "yes"

    with ChatServer(answer) as server:

        def run(output: Path, base_lost: Collection[int], adapter_lost: Collection[int] | None) -> dict[str, Any]:
            base, adapter = (
                None if lost is None else f"{server.url}#{'-'.join([name, *map(str, lost)])}"
                for name, lost in (("base", base_lost), ("adapter", adapter_lost))
            )
            recipe = EvaluateRecipe(
                str(base), ("hallusionbench",), adapter=adapter, benchmark={"hallusionbench": block}
            )
            return evaluate(recipe, output)

        yield run


WRONG = (0, len(FIGURES) - 1)


def test_a_question_without_an_answer_takes_no_more_than_its_groups(figures: Evaluate, tmp_path: Path) -> None:
    figures(tmp_path / "run", (), (LOST,))
    results = Results.read(tmp_path / "run")
    changes = results.differences_by_key()
    for model, wrong in (("base", WRONG), ("adapter", ())):
        for key, value in results.by_key(model).items():
            right, n = _by_hand(wrong, (LOST,), key.part)[key.metric.removesuffix("_yes_no")]
            assert (value.value, value.n) == (pytest.approx(right / n), n), (model, key)
    lost = {key.metric.removesuffix("_yes_no"): change.lost for key, change in changes.items() if key.part == "all"}
    assert lost == {"aAcc": 1, "fAcc": 3, "qAcc": 3}, "all questions of the groups that lack one"
    assert {key.part for key, change in changes.items() if change.value} == {"all", "VS", "VD"}


def test_groups_of_several_runs_are_paired_by_what_each_lacks(figures: Evaluate, tmp_path: Path) -> None:
    figures(tmp_path / "both", (), (LOST,))
    figures(tmp_path / "base", (), None)
    figures(tmp_path / "other", (len(FIGURES) - 2,), None)
    found = compare([tmp_path / "base", tmp_path / "both", tmp_path / "other"])
    assert found.warnings == ()
    assert found.models == ("both, base: base", "both: adapter", "other: base"), "one base, whatever an adapter lacks"
    for (key, _), (*_, test) in zip(found.rows, found.tests, strict=True):
        assert test is not None, key
        right, n = _by_hand(WRONG, (len(FIGURES) - 2,), key.part)[key.metric.removesuffix("_yes_no")]
        assert (test.first, test.second) == (pytest.approx(right / n), pytest.approx(right / n)), key


def test_runs_of_a_task_of_others_are_paired_without_its_code(tmp_path: Path) -> None:
    right = np.arange(40) % 3 > 0
    recipe = {"model": "me/vlm", "benchmarks": ["lmms-eval:nowhere"]}
    for name, missing, answers in (("one", (0, 1), right), ("two", (5,), np.roll(right, 1))):
        finished_run(tmp_path / name, {"base": answers}, benchmark="lmms-eval.nowhere", missing=missing, recipe=recipe)
    found = compare([tmp_path / "one", tmp_path / "two"])
    assert found.warnings == ()
    [(_, test)] = found.tests
    assert test is not None
    kept = [number for number in range(40) if number not in (0, 1, 5)]
    assert (test.first, test.second) == pytest.approx((right[kept].mean(), np.roll(right, 1)[kept].mean()))
    assert (test.pairs, test.lost) == (37, 3)


def test_metrics_that_only_the_code_of_others_can_make_are_not_tested(tmp_path: Path) -> None:
    recipe = {"model": "me/vlm", "benchmarks": ["lmms-eval:nowhere"]}
    for name, missing in (("one", (0,)), ("two", (5,))):
        run = finished_run(
            tmp_path / name, {"base": np.ones(9)}, benchmark="lmms-eval.nowhere", missing=missing, recipe=recipe
        )
        results = json.loads((run / "results.json").read_text())
        results["results"][0]["of"] = None
        (run / "results.json").write_text(json.dumps(results))
    found = compare([tmp_path / "one", tmp_path / "two"])
    assert not any(any(tests) for tests in found.tests)
    [warning] = found.warnings
    assert warning.endswith("its metrics are made of all scores by code of others, which a comparison does not run.")


def test_runs_of_before_counted_what_each_model_has(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated(tmp_path / "run", (), {2, 3})
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps({**manifest, "missing": {"pope": 0}}))
    assert [model.missing("pope") for model in read_finished([tmp_path / "run"])] == [0, 2]
