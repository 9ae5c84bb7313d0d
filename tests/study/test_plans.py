"""The plans that come with mmpref: every row means something, and claims speak of what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

import mmpref.study
from mmpref.bench.benchmark import BENCHMARKS
from mmpref.data.builder import BUILDERS
from mmpref.study.choice import points
from mmpref.study.effects import metrics_of
from mmpref.study.plan import Plan, load
from mmpref.study.steps import Composer

PLANS = sorted((Path(mmpref.study.__file__).parent / "plans").glob("[!_]*.yaml"))
COUNTS = {
    "chair": ["n", "mentions", "hallucinated", "typical", "other", "found", "objects", "words", "with_hallucination"],
    "pope": [f"{part}/{name}" for part in ("all", "adversarial") for name in ("tp", "fp", "tn", "fn", "n", "right")],
    "llava-wild": ["all/model", "all/gpt", "all/n"],
    "amber": [f"caption/{name}" for name in ("hallucinated", "mentions", "covered", "objects", "conjured", "imagined")],
    "object-halbench": ["with_hallucination", "with_mention", "hallucinated", "mentions", "found", "objects", "words"],
}


@pytest.fixture(scope="module", params=PLANS, ids=lambda path: path.stem)
def plan(request: pytest.FixtureRequest) -> Plan:
    return load(str(request.param))


def test_every_row_resolves(plan: Plan, tmp_path: Path) -> None:
    composer = Composer(plan, tmp_path)
    for row in plan.rows.values():
        grid = row.grid or (plan.rows[row.grid_like].grid if row.grid_like else None)
        point = points(grid)[-1] if grid else {}
        splits = row.evaluate if row.train is None else row.evaluate[:1]
        job = composer.job(row, row.bases[0], 0, {row.name: point}, splits=splits)  # which resolves all that it needs
        assert list(job.evaluations) == list(splits)
        assert (job.training is None) == (row.train is None)


def test_metrics_that_are_named_are_there(plan: Plan) -> None:
    named = {(effect.split, effect.key) for claim in plan.claims for effect in claim.effects}
    for split, key in named:
        assert key.benchmark in plan.evaluate[split]["benchmarks"]
        assert key in metrics_of(plan, split, key.benchmark, COUNTS[key.benchmark])


def test_rows_of_a_claim_are_measured_where_it_looks(plan: Plan) -> None:
    for claim in plan.claims:
        for effect in claim.effects:
            for name in (effect.row, effect.against or "base"):
                assert effect.split in plan.rows[name].evaluate, (claim.id, name)


def test_the_field_goes_on_with_what_the_study_has_done(tmp_path: Path) -> None:
    """Rows of the same name are the same work, so that both may have one folder."""
    study, rivals = load("study"), load("rivals")
    composers = Composer(study, tmp_path), Composer(rivals, tmp_path)
    shared = set(study.rows) & set(rivals.rows)
    assert len(shared) == 13
    for name in shared:
        rows = study.rows[name], rivals.rows[name]
        assert rows[0].grid == rows[1].grid
        point = {name: points(rows[0].grid)[0]} if rows[0].grid else {}
        first, second = (one.job(row, 0, 0, point) for one, row in zip(composers, rows, strict=True))
        assert first.hashes == second.hashes


def test_the_field_has_every_builder_and_every_claim_three_seeds() -> None:
    plan = load("rivals")
    methods = {values["method"] for values in plan.data.values()}
    made = {name for name in BUILDERS.names() if BUILDERS.get(name).origin is None}
    left = {"masking", "other-image", "reversed", "mix", "opa-dpo"}
    assert made - methods == left, "a row of the paper, controls, a union, a published set"
    assert all(plan.rows[effect.row].seeds >= 3 for claim in plan.claims for effect in claim.effects)


def test_the_study_has_every_claim_and_every_control() -> None:
    plan = load(str(next(path for path in PLANS if path.stem == "study")))
    assert [claim.id for claim in plan.claims] == [str(number) for number in range(1, 15)]
    assert len(plan.bases.seeds) >= 3
    assert {"shuffled", "random", "mismatched", "other-image", "same-kind", "sft", "reversed"} <= set(plan.rows)
    claimed = {effect.row for claim in plan.claims for effect in claim.effects}
    claimed |= {effect.against for claim in plan.claims for effect in claim.effects if effect.against}
    assert all(plan.rows[name].seeds >= 3 for name in claimed), "no claim rests on one run"
    assert "reward-model" in BENCHMARKS.names()
