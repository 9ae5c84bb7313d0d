"""A model as annotator on labelled pairs: both orders, position bias, what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.bootstrap import Clusters, replicates
from mmpref.bench.evaluate import evaluate
from mmpref.bench.parts import with_group_counts
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import InputError
from mmpref.recipes import resolve
from mmpref.tables.open import open_table

from ..conftest import MODEL, write_rows

BENCHMARK = BENCHMARKS.get("annotator")


def measured(says: dict[int, tuple[str, str]], rows: int = 4) -> dict[tuple[str, str], float]:
    """Metrics when the annotator says so of each pair, in the two orders."""
    task = BENCHMARK.task(BENCHMARK.settings())
    samples = task.samples(open_table("testbed-pairs", "dev"), rows)
    scores = [task.score(sample, says[number // 2][number % 2]) for number, sample in enumerate(samples)]
    whole = with_group_counts(samples, scores, frozenset())
    names = {name for score in whole for name in score.counts}
    clusters = Clusters.of([sample.image_id for sample in samples], whole, names)
    return {(metric.name, metric.part): float(replicates(clusters, metric, 0)[0]) for metric in task.metrics(whole)}


def test_a_pair_is_right_where_both_orders_are() -> None:
    first, second = "Better: Response 1", "Because.\nBetter: Response 2"
    found = measured({0: (first, second), 1: (first, first), 2: (second, first), 3: ("Hm.", second)})
    assert found["accuracy", "all"] == found["accuracy", "captions"] == 0.25
    assert found["one_order", "all"] == 4 / 8
    assert found["named_first", "all"] == 4 / 7


def test_one_who_loves_a_place_is_never_right() -> None:
    found = measured(dict.fromkeys(range(4), ("Better: Response 1",) * 2))
    assert (found["accuracy", "all"], found["one_order", "all"], found["named_first", "all"]) == (0, 0.5, 1)


def test_it_is_asked_as_annotators_are_in_both_orders() -> None:
    task = BENCHMARK.task(BENCHMARK.settings())
    one, other = task.samples(open_table("testbed-pairs", "dev"), 1)
    row = next(iter(open_table("testbed-pairs", "dev")))
    chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
    assert chosen != rejected
    assert f"Response 1:\n{chosen}\n\nResponse 2:\n{rejected}" in one.messages[0].content
    assert f"Response 1:\n{rejected}\n\nResponse 2:\n{chosen}" in other.messages[0].content


def test_a_model_that_does_not_understand_is_counted(tmp_path: Path) -> None:
    settings = {"annotator": resolve.load("testbed")["evaluate"]["benchmark"]["annotator"]}
    content = evaluate(EvaluateRecipe(MODEL, ("annotator",), benchmark=settings, limit=6), tmp_path / "run")
    rows = {(row["metric"], row["split"]): row for row in content["results"]}
    assert rows["accuracy", "all"]["value"] == 0
    assert rows["one_order", "all"]["parse_failures"] == rows["one_order", "all"]["n"] == 12


def test_rows_that_are_no_pairs(tmp_path: Path) -> None:
    row = {"image": "x.png", "prompt": "What?", "chosen": {"a": 3}}
    file = write_rows(tmp_path / "train.jsonl", [row])
    task = BENCHMARK.task(BENCHMARK.settings())
    with pytest.raises(InputError, match=r"row 0 .counted from 0. lacks rejected"):
        task.samples(open_table(str(file)), None)
    write_rows(file, [{**row, "rejected": "b"}])
    with pytest.raises(
        InputError, match=r"No row of .* \(malformed: 1\)\. First: .*row 0 .counted from 0.: chosen is a dict"
    ):
        task.samples(open_table(str(file)), None)
