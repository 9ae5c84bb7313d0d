"""Rows of several worlds: their bases, their images, and how far one row is ahead of another in each."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmpref.cli.pages.study import markdown, page
from mmpref.cli.pages.study_figures import leads
from mmpref.errors import UsageError
from mmpref.study import runner
from mmpref.study.bases import Start
from mmpref.study.conclude import conclude
from mmpref.study.measurement import Ledger, Measurement
from mmpref.study.plan import load
from mmpref.study.plan_types import Plan
from mmpref.study.schedule import Schedule
from mmpref.study.steps import Composer
from tests.study.conftest import PLAN
from tests.study.ledgers import measured

WORLDS = {"last": {}, "first": {"options": {"kind_first": 1.0}}, "small": {"evaluate": {"test": {"split": "test-3"}}}}
LEAD = {"row": "bdhs", "against": "sft", "metric": "chair chair_i", "split": "test", "axis": "share"}
LEADS = [
    {**LEAD, "title": "By text", "at": {"last": 0, "first": 1}},
    {**LEAD, "title": "By bias", "share": ["chair chair_s", "chair chair_i"], "worlds": ["last", "first", "small"]},
]
EACH = {"each": {"world": list(WORLDS)}}


def _write(folder: Path, **changes: Any) -> Path:
    content = {
        "bases": {"seeds": [0, 1], "trained_by": "mmpref.testbed.training.base:train_base", "worlds": WORLDS},
        "data": {"pairs": {"method": "bdhs"}},
        "train": {"dpo": {"method": "dpo"}, "sft": {"method": "sft"}},
        "evaluate": {"dev": {"benchmarks": ["chair"]}, "test": {"benchmarks": ["chair"]}},
        "rows": {"base": EACH, **{row: {"data": "pairs", "train": "dpo", **EACH} for row in ("bdhs", "sft")}},
        "leads": LEADS,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return load(str(_write(tmp_path)))


def _ledger(*worlds: str, bases: int = 2) -> list[Measurement]:
    """In "last" the one row has half of the other's hallucinations, elsewhere as many; "small" is on other images."""
    rates = {"base": 0.3, "sft": 0.2, "bdhs": 0.2}
    return [
        measured(
            f"{row}-{world}",
            0.1 if (row, world) == ("bdhs", "last") else rate,
            base,
            images=40 if world == "small" else 60,
        )
        for world in worlds
        for row, rate in rates.items()
        for base in range(bases)
    ]


def test_each_row_starts_from_the_bases_of_its_world(plan: Plan, tmp_path: Path) -> None:
    composer = Composer(plan, tmp_path)
    own, first = (composer.base(Start(0, world)) for world in ("last", "first"))
    assert own is None, "nothing differs: the recipe's own model"
    assert first is not None
    assert first.folder != composer.base(Start(1, "first")).folder  # type: ignore[union-attr]
    job = composer.job(plan.rows["bdhs-first"], 0, 0, {})
    assert job.steps[0] == first
    assert job.evaluations["test"].options["model"] == str(first.folder)
    small = composer.job(plan.rows["base-small"], 0, 0, {}).evaluations["test"]
    assert small.options["split"] == "test-3"
    assert plan.base_of("bdhs-first") == plan.rows["base-first"]


def test_one_world_is_done_after_the_other_on_the_first_base(plan: Plan, tmp_path: Path) -> None:
    names = [(run.row, run.base) for run in Schedule(plan, tmp_path, list(plan.rows)).targets]
    assert names[:4] == [("base-last", 0), ("bdhs-last", 0), ("sft-last", 0), ("base-first", 0)]
    assert names[9] == ("base-last", 1)


def test_leads_are_of_the_same_world_and_what_is_missing_is_named(plan: Plan) -> None:
    by_text, by_bias = conclude(plan, _ledger("last", "small")).leads
    assert [point.world for point in by_text.known] == ["last"]
    assert by_text.missing == ["first"]
    (effect,) = [point.effect for point in by_text.known]
    assert effect is not None
    assert effect.high < 0, "half of the hallucinations"
    assert (effect.bases, effect.images) == ((0, 1), 60)
    last, small = (next(point for point in by_bias.points if point.world == world) for world in ("last", "small"))
    assert small.effect is not None
    assert (small.effect.images, small.effect.value) == (40, 0), "its own images, on which the rows are alike"
    place, runs = last.place, [one for one in _ledger("last") if one.row == "base-last"]
    assert place is not None
    shares = [[one.value(f"chair {name}") for one in runs] for name in ("chair_s", "chair_i")]
    means = [sum(value.value for value in values if value) / len(values) for values in shares]
    assert place.value == pytest.approx(means[0] / means[1])
    assert place.low < place.value < place.high


def test_a_lead_on_a_metric_that_is_not_measured_is_told(tmp_path: Path) -> None:
    leads = [{**LEADS[0], "metric": "chair chair_j"}, {**LEADS[1], "share": ["chair chair_i_odd", "chair chair_i"]}]
    warnings = conclude(load(str(_write(tmp_path, leads=leads))), _ledger("last", "small")).warnings
    assert [warning.partition(",")[0] for warning in warnings] == [
        "The lead 'By text' goes by chair chair_j on test",
        "The lead 'By bias' goes by chair chair_i_odd on test",
    ]


def test_differences_are_from_the_base_of_the_rows_own_world(plan: Plan) -> None:
    (table,) = conclude(plan, _ledger("last", "small")).tables
    assert [line.row for line in table.lines if not any(line.changes)] == ["base-last", "base-small"]
    assert {change.against for line in table.lines for change in line.changes if change} == {"base-last", "base-small"}


def test_the_page_draws_what_is_there_and_says_what_is_not(plan: Plan) -> None:
    conclusions = conclude(plan, _ledger("last", "small"))
    titles = [title for title, _ in leads(conclusions.leads)]
    assert len(titles) == 2
    assert "By text: bdhs less sft on test" in titles[0]
    assert titles[0].endswith("still to be measured: first")
    text = page(conclusions)
    assert "still to be measured: first" in text
    assert "not measured" in markdown(conclusions)
    said = re.sub(r"\\(?=[\[\]])", "", html.unescape(markdown(conclusions)))
    assert re.search(r"\| last \| 0 \| -0\.\d+ \[-0\.\d+, -0\.\d+\]", said)
    empty = page(conclude(plan, []))
    assert "By text: no point is measured yet." in empty


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"leads": [{**LEADS[0], "at": {"lst": 0}}]}, "names the world 'lst'. Did you mean 'last'"),
        ({"leads": [{**LEADS[0], "share": ["a b", "c d"]}]}, "needs either at, or worlds with a share"),
        ({"leads": [{**LEADS[0], "split": "tst"}]}, "names the evaluation 'tst'"),
        ({"leads": [{**LEADS[0], "metric": "chair"}]}, "has a metric that is none"),
        (
            {"leads": [{**LEADS[0], "row": "bdsh"}]},
            "is about 'bdsh' in the world 'last' on 'test', where there is none",
        ),
        (
            {"leads": [{**LEADS[0], "split": "dev"}]},
            "is about 'bdhs' in the world 'last' on 'dev', where there is none",
        ),
        (
            {"train": {"dpo": {"loss": {"reward": {"row": "sft-last"}}}, "sft": {}}, "leads": []},
            "row 'bdhs-first' takes the adapter of 'sft-last', which is of another world",
        ),
        ({"rows": {"base": {}}, "leads": []}, "row 'base' starts in the world ''"),
        (
            {
                "claims": [
                    {
                        "id": "1",
                        "says": "x",
                        "effects": [
                            {
                                "row": "bdhs-last",
                                "against": "sft-first",
                                "metric": "chair chair_i",
                                "split": "test",
                                "direction": "lower",
                            }
                        ],
                    }
                ]
            },
            "compares 'bdhs-last' with 'sft-first' of another world",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        load(str(_write(tmp_path, **changes)))
    assert said in str(error.value)


@pytest.mark.long
def test_a_world_is_trained_and_measured_by_the_real_code(tmp_path: Path) -> None:
    lengths = {
        "tower_steps": 1,
        "plain_scenes": 24,
        "align_steps": 1,
        "finding_steps": 1,
        "reading_steps": 1,
        "language_steps": 1,
        "language_scenes": 24,
        "measured": 1,
    }
    small = {
        "options": {"members": 3, "unclear": 0.7},
        "data": {"split": "train-3"},
        "evaluate": {"test": {"split": "test-3"}},
    }
    each = {"each": {"world": ["small"]}}
    path = _write(
        tmp_path,
        bases={
            "seeds": [0],
            "trained_by": "mmpref.testbed.training.base:train_base",
            "options": {"lengths": lengths},
            "worlds": {"small": small},
        },
        data=PLAN["data"],
        train=PLAN["train"],
        evaluate={"test": {"benchmarks": ["chair"], "limit": 4}},
        kl="none",
        rows={"base": each, "bdhs": {"data": "pairs", "train": "dpo", **each}},
        leads=[{**LEADS[0], "against": "base", "at": {"small": 42}}],
    )
    plan, folder = load(str(path)), tmp_path / "study"
    outcome = runner.run(plan, folder, only=["base-*"], say=lambda _: None)
    assert (outcome.left, outcome.failures) == (0, [])
    (one,) = Ledger.read(folder / "ledger")
    assert one.row == "base-small"
    (images,) = (folder / "ledger" / "images").iterdir()
    assert json.loads(images.read_text())[0] == "test-3-00000"
    (base,) = (folder / "bases").iterdir()
    facts = json.loads((base / "TRAINING.json").read_text())
    assert (facts["members"], facts["unclear"]) == (3, 0.7)
    assert facts["test-3"]["captions"]["captions"] == 1
