"""Metrics over nothing: they have no value, take part in no test, and it is said why."""

from __future__ import annotations

import html
import json
import math
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmpref.bench.benchmark import BENCHMARKS, CountKey
from mmpref.bench.bootstrap import Clusters, percentile_interval, replicates
from mmpref.bench.compare import compare
from mmpref.bench.evaluate import evaluate
from mmpref.bench.no_worse import ANY
from mmpref.bench.paired import Change, Pairs
from mmpref.bench.power import spreads
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.records import write_resamples
from mmpref.bench.significance import paired_difference
from mmpref.cli.main import program
from mmpref.errors import InputError
from mmpref.hub.cards.model_index import model_index
from mmpref.hub.cards.results_table import lines_of, read_lines, results_block
from mmpref.run import verdict
from mmpref.run.results import Key, Results
from mmpref.tables.open import open_table
from tests.bench.conftest import MODEL
from tests.bench.finished_runs import finished_run
from tests.bench.test_paired import SETTINGS

CHAIR_I = Key("chair", "chair_i", "all")


@pytest.fixture(scope="module")
def run(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation on rows that list what no caption says."""
    folder = tmp_path_factory.mktemp("undefined")
    (folder / "synonyms.txt").write_text("quark, lepton\n")
    for number, row in enumerate(islice(open_table("testbed-chair", "test"), 12)):
        (folder / f"{number}.png").write_bytes(row["image"]["bytes"])
    rows = [{"image": f"{number}.png", "objects": ["quark"]} for number in range(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = {"data": str(folder / "rows.jsonl"), "synonyms": str(folder / "synonyms.txt")}
    settings = {**SETTINGS, "chair": {**SETTINGS["chair"], **own}}
    recipe = EvaluateRecipe(MODEL, ("pope", "chair"), adapter=str(adapter), benchmark=settings, limit=12)
    evaluate(recipe, folder / "run")
    return folder / "run"


def test_chair_of_captions_without_a_known_object_is_undefined(run: Path) -> None:
    results = Results.read(run)
    for value in results.values:
        if value.key == CHAIR_I:
            assert value.n == 0
            assert all(map(math.isnan, (value.value, value.low, value.high)))
        elif value.benchmark == "chair" and value.metric in ("chair_s", "recall", "mentions"):
            assert value.value == 0, "captions and objects there are"
    change = results.differences_by_key()[CHAIR_I]
    assert (change.p, change.test, change.p_holm, change.verdict) == (None, None, None, "cannot tell")
    pope = results.differences_by_key()[Key("pope", "accuracy", "all")]
    assert pope.p_holm == pope.p, "Holm's correction is over what is tested"
    chair = next(line for line in verdict.lines_of(results) if line.name == "chair chair_i")
    assert (chair.first, chair.second, chair.difference, chair.verdict) == ("–", "–", "–", "cannot tell")


def test_its_file_is_json_without_nan(run: Path) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads((run / "results.json").read_text(), parse_constant=refuse)
    rows = [row for row in content["results"] if row["metric"] == "chair_i"]
    assert [(row["value"], row["low"], row["n"]) for row in rows] == [(None, None, 0)] * 2
    json.loads(json.dumps(compare([run], margins={ANY: 0.01}).as_dict()), parse_constant=refuse)


def test_it_is_said_why(run: Path) -> None:
    remarks = json.loads((run / "run.json").read_text())["remarks"]
    [said] = [remark for remark in remarks if "cannot be told" in remark]
    assert said.startswith("chair: chair_i cannot be told of base and adapter: none of the answers names any")


def test_comparing_tests_what_has_a_value(run: Path) -> None:
    found = compare([run], margins={ANY: 0.01})
    test = next(tests[1] for (key, _), tests in zip(found.rows, found.tests, strict=True) if key == CHAIR_I)
    assert test is not None
    assert (test.p_holm, found.claims) == (None, 1)
    assert {row.difference.benchmark: row.verdict for row in found.no_worse}["chair"] == "cannot tell"
    shown = CliRunner().invoke(program, ["compare", str(run)])
    assert shown.exit_code == 0, shown.output
    assert "nan" not in shown.stdout


def test_cards_have_a_dash_and_no_number(run: Path) -> None:
    results = Results.read(run)
    block = results_block(lines_of(results))
    row = next(line for line in block.splitlines() if line.startswith("|") and "chair_i " in html.unescape(line))
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["–", "–", "–"]
    assert len(read_lines(block)) == len(lines_of(results))
    index = json.dumps(model_index("me/vlm", results))
    assert "chair_s" in index
    assert "chair_i" not in index
    assert "NaN" not in index


def test_power_says_what_it_leaves_out(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    assert {spread.key.benchmark for spread in spreads([run]) if spread.key} == {"pope"}
    assert "chair chair_i" in caplog.text
    assert "nothing that it is over" in caplog.text
    alike = finished_run(tmp_path / "alike", {"base": np.ones(9)})
    with pytest.raises(InputError):
        spreads([alike])
    assert "the same whichever images are drawn" in caplog.text
    none = finished_run(tmp_path / "none", {"base": np.arange(9) % 2})
    # As runs of before kept them: 0 in the data, undefined in every resample.
    write_resamples(none, {("base", Key("pope", "accuracy", "all")): np.array([0.0, *[np.nan] * 2000])})
    with pytest.raises(InputError):
        spreads([none])
    assert not recwarn.list


@pytest.mark.parametrize("gains", [None, [0.0, 0.0]])
def test_what_is_undefined_of_one_model_is_not_tested(gains: list[float] | None) -> None:
    change = Change(np.zeros(3), np.array([np.nan, 0.1, 0.2]), gains, 2, 2, Pairs(frozenset("ab"), 0))
    found = paired_difference(CHAIR_I, change, higher_is_better=False, headline=True)
    assert (found.p, found.test, found.verdict) == (None, None, "cannot tell")


def _values(benchmark: str, counts: dict[Any, float], part: str = "all") -> dict[str, float]:
    """The metrics of a benchmark over two images of these counts."""
    from mmpref.bench.benchmark import Score

    scores = [Score("", counts)] * 2
    task = object.__new__(type(_task(benchmark)))
    clusters = Clusters.of(["a", "b"], scores)
    metrics = [metric for metric in task.metrics(scores) if metric.part == part]
    return {metric.name: percentile_interval(replicates(clusters, metric, 0)).value for metric in metrics}


def _task(benchmark: str) -> Any:
    found = BENCHMARKS.get(benchmark)
    needed = {"object-halbench": {"synonyms": "pkg:mmpref.testbed/synonyms.txt"}}
    return found.task(found.settings(**needed.get(benchmark, {})))


def test_siblings_over_nothing() -> None:
    """Where no official scorer gives a value, there is none; where one does, it stands."""
    halbench = dict.fromkeys(("mentions", "hallucinated", "with_hallucination", "with_mention", "found"), 0.0)
    found = _values("object-halbench", {**halbench, "objects": 2.0, "words": 3.0, "n": 1.0})
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"response_hallucination", "mention_hallucination", "f1"}
    assert found["recall"] == 0

    dash = {"right": 0.0, "n": 1.0, "right_yes": 0.0, "yes": 1.0, "right_no": 0.0, "no": 0.0}
    found = _values("dash-b", dash)
    assert {name for name, value in found.items() if math.isnan(value)} == {"tnr", "harmonic_mean"}
    assert _values("dash-b", {**dash, "no": 1.0})["harmonic_mean"] == 0

    # lmms-eval's: precision, recall and F1 of no yes at all are 0.
    pope = {"tp": 0.0, "fp": 0.0, "fn": 0.0, "tn": 1.0, "n": 1.0, "right": 1.0}
    found = _values("pope", {CountKey("all", name): value for name, value in pope.items()})
    assert (found["accuracy"], found["precision"], found["recall"], found["f1"]) == (1, 0, 0, 0)
