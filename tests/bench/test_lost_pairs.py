"""Samples that one model alone has a score of: one rule for a run, its page, its card, and comparisons of several."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCardData

from mmpref.bench.compare import compare
from mmpref.bench.evaluate import evaluate
from mmpref.bench.finished_model import read_finished
from mmpref.bench.paired import Row, pair
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
from tests.judges.server import ChatServer, text_of

from .conftest import png, pope_row, write_rows

QUESTIONS = 60
ACCURACY = Key("pope", "accuracy", "all")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """A third of the questions in each part; every image has two."""
    rows = []
    for number in range(QUESTIONS):
        (tmp_path / f"{number // 2}.png").write_bytes(png("red"))
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


def test_samples_that_count_together_are_paired_by_whole_images() -> None:
    """A group's counts stand at one of its samples, which may be another one in each model."""

    def rows(*missing: int) -> list[Row]:
        return [Row(str(number), str(number // 2), number != 5, number in missing) for number in range(6)]

    alone, together = (pair(rows(2, 5), rows(5), whole) for whole in (False, True))
    assert (alone.kept, alone.lost) == ({"0", "1", "3", "4"}, 1)
    assert (together.kept, together.lost) == ({"0", "1", "4"}, 2), "5 nobody answered: it is no pair that was lost"


def test_runs_of_before_counted_what_each_model_has(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated(tmp_path / "run", (), {2, 3})
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps({**manifest, "missing": {"pope": 0}}))
    assert [model.missing("pope") for model in read_finished([tmp_path / "run"])] == [0, 2]
