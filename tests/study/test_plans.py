"""The plans that come with mmpref: every row means something, and claims speak of what is there."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

import mmpref.study
from mmpref.api.call import Call
from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.plan import load_plan, resolve_settings
from mmpref.bench.replies import Replies
from mmpref.bench.score import score_replies
from mmpref.data.builder import BUILDERS
from mmpref.run.results import Key
from mmpref.study.choice import points
from mmpref.study.measurement import Ledger
from mmpref.study.named_metrics import named
from mmpref.study.plan import load
from mmpref.study.plan_types import Plan
from mmpref.study.steps import Composer
from mmpref.testbed import render
from mmpref.testbed.world import FOREIGN, scene

PLANS = sorted((Path(mmpref.study.__file__).parent / "plans").glob("[!_]*.yaml"))


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


def test_metrics_that_are_named_are_there(plan: Plan, tmp_path: Path) -> None:
    """Of the benchmarks' own rows, as the testbed has them, answered by nothing: names need no model."""
    composer = Composer(plan, tmp_path)
    starts = {start.world: start for start in plan.bases.starts()}
    wanted = [(one.by, one.key, one.splits) for one in named(plan)]
    for row in plan.rows.values():
        for metric in filter(None, (row.grid.best, row.grid.keep) if row.grid else ()):
            wanted.append((f"the grid of {row.name}", Key.of(metric), (row.grid.split,)))
    for start in starts.values():
        there = {split: _metrics(composer.evaluation(split, start, None)) for split in plan.evaluate}
        for by, key, splits in dict.fromkeys(wanted):
            assert any(key in there[split] for split in splits), f"{by} names {key.name}"


def _metrics(call: Call) -> set[Key]:
    recipe = call.resolved()
    settings = resolve_settings(recipe.benchmarks, recipe.benchmark, recipe.split, recipe.image_root, recipe.columns)
    return set().union(
        *(_of_benchmark(name, recipe.label(name), json.dumps(settings[name])) for name in recipe.benchmarks)
    )


@cache
def _of_benchmark(name: str, label: str, settings: str) -> set[Key]:
    with pytest.MonkeyPatch.context() as patch:
        picture = render.png(scene("test", 0))
        patch.setattr(render, "png", lambda _: picture)  # drawing all takes longer than all else
        made = load_plan(name, label, json.loads(settings), None)
    nothing = ("",) * len(made.samples)
    scores = score_replies(made, Replies(nothing, nothing, 0, 0)).scores
    return {Key(label, metric.name, metric.part) for metric in made.task.metrics(scores)}


def test_rows_of_a_claim_are_measured_where_it_looks(plan: Plan) -> None:
    for claim in plan.claims:
        for effect in claim.effects:
            for name in (effect.row, effect.against or "base"):
                assert effect.split in plan.rows[name].evaluate, (claim.id, name)


@pytest.mark.parametrize(("other", "rows"), [("rivals", 13), ("shifts", 4), ("scenes", 6)])
def test_other_studies_go_on_with_what_the_study_has_done(other: str, rows: int, tmp_path: Path) -> None:
    """Rows of the same name are the same work, so that both may have one folder."""
    plans = load("study"), load(other)
    composers = [Composer(plan, tmp_path) for plan in plans]
    shared = set(plans[0].rows) & set(plans[1].rows)
    assert len(shared) == rows
    for name in shared:
        one, two = (plan.rows[name] for plan in plans)
        assert one.grid == two.grid
        point = {name: points(one.grid)[0]} if one.grid else {}
        for base in set(one.bases) & set(two.bases):
            jobs = [made.job(row, base, 0, point) for made, row in zip(composers, (one, two), strict=True)]
            both = set.intersection(*(set(job.hashes) for job in jobs))
            assert both & {"test", "pairs"}
            assert all(jobs[0].hashes[split] == jobs[1].hashes[split] for split in both)


def test_unseen_pairs_are_asked_of_a_base_that_saw_none(tmp_path: Path) -> None:
    plan = load("shifts")
    [claim] = [claim for claim in plan.claims if claim.id == "pairs"]
    for effect in claim.effects:
        assert effect.split == FOREIGN
        assert plan.bases.options_of(plan.rows[effect.row].world) == {"held_out": True}
    assert all(values.get("split", "train") == "train" for values in plan.data.values()), "whose scenes have captions"


def test_the_field_has_every_builder_and_every_claim_three_seeds() -> None:
    plan = load("rivals")
    methods = {values["method"] for values in plan.data.values()}
    made = {name for name in BUILDERS.names() if BUILDERS.get(name).origin is None}
    left = {"masking", "other-image", "reversed", "mix", "opa-dpo"}
    assert made - methods == left, "a row of the paper, controls, a union, a published set"
    assert all(plan.rows[effect.row].seeds >= 3 for claim in plan.claims for effect in claim.effects)


def test_controls_in_minutes_have_what_the_study_has_chosen() -> None:
    study, controls = load("study"), load("controls")
    composers = [Composer(plan, Path("unused")) for plan in (study, controls)]
    ledger = Path(__file__).parents[2] / "model_cards" / "study" / "ledger"
    runs = [one for one in Ledger.read(ledger) if not one.is_grid_point and (one.base, one.seed) == (0, 0)]
    chosen = {one.row: dict(one.point) for one in runs}
    for row in (row for row in controls.rows.values() if row.train):
        jobs = [
            made.job(one, 0, 0, points)
            for made, one, points in zip(
                composers, (study.rows[row.name], row), ({row.name: chosen[row.name]}, {}), strict=True
            )
        ]
        assert jobs[0].steps == jobs[1].steps, row.name


def test_the_study_has_every_claim_and_every_control() -> None:
    plan = load(str(next(path for path in PLANS if path.stem == "study")))
    assert [claim.id for claim in plan.claims if claim.id.isdigit()] == [str(number) for number in range(1, 15)]
    assert len(plan.bases.seeds) >= 3
    assert {"shuffled", "random", "mismatched", "other-image", "same-kind", "sft", "reversed"} <= set(plan.rows)
    claimed = {effect.row for claim in plan.claims for effect in claim.effects}
    claimed |= {effect.against for claim in plan.claims for effect in claim.effects if effect.against}
    assert all(len(plan.rows[name].bases) >= 10 for name in claimed), "it is bases that differ"
    assert "reward-model" in BENCHMARKS.names()
