"""Effects of rows from simulated ledgers, and their limits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mmpref.run.results import ALL, Key
from mmpref.study.conclude import conclude
from mmpref.study.effects import Effects
from mmpref.study.measurement import ImageCounts, MetricValue
from mmpref.study.plan_types import Row
from tests.study.ledgers import IMAGES, claim, measured, plan_of

CHAIR, F1 = Key("chair", "chair_i", ALL), Key("pope", "f1", "adversarial")


def _effects(folder: Path, bases: int = 3, seeds: int = 2, by_base: float = 0.0) -> Effects:
    runs = [measured("base", 0.2 + by_base * base, base) for base in range(bases)]
    runs += [
        measured("bdhs", 0.1 + by_base * base, base, seed, noise=seed) for base in range(bases) for seed in range(seeds)
    ]
    return Effects(plan_of(folder, ["bdhs", "sft"], bases=bases), runs)


def test_values_are_the_means_of_what_was_measured(tmp_path: Path) -> None:
    effects = _effects(tmp_path)
    runs = effects.runs("bdhs", "test")
    assert len(runs) == 6
    value = effects.value("bdhs", CHAIR, "test")
    assert value is not None
    assert value.value == pytest.approx(np.mean([run.value(CHAIR).value for run in runs]))
    assert value.low < value.value < value.high
    assert (value.bases, value.seeds, value.images) == ((0, 1, 2), (2, 2), IMAGES)
    assert value.number == f"3 bases x 2 seeds, {IMAGES} images"


def test_what_has_more_seeds_on_some_bases_says_so(tmp_path: Path) -> None:
    runs = [measured("base", 0.2, base) for base in range(2)]
    runs += [measured("bdhs", 0.1, base, seed, noise=seed) for base in range(2) for seed in range(3 - 2 * base)]
    value = Effects(plan_of(tmp_path, ["bdhs"], bases=2), runs).value("bdhs", CHAIR, "test")
    assert value is not None
    assert value.number == f"2 bases x 1 to 3 seeds, {IMAGES} images"


def test_a_difference_is_paired_by_base_and_image(tmp_path: Path) -> None:
    effects = _effects(tmp_path, seeds=1, by_base=0.1)
    change, value = (effects.difference("bdhs", "base", CHAIR, "test"), effects.value("bdhs", CHAIR, "test"))
    assert change is not None
    assert value is not None
    runs = [effects.runs(row, "test") for row in ("bdhs", "base")]
    by_base = [mine.value(CHAIR).value - other.value(CHAIR).value for mine, other in zip(*runs, strict=True)]
    assert change.value == pytest.approx(np.mean(by_base))
    assert change.estimate.of_units == pytest.approx(by_base)
    assert change.base_range == pytest.approx((min(by_base), max(by_base)))
    assert change.high - change.low < (value.high - value.low) / 2, "bases differ by 0.1 each; differences do not"
    assert change.better
    assert change.off_zero
    assert change.text().startswith("-")


def test_metrics_that_are_no_quotient_come_from_the_benchmark(tmp_path: Path) -> None:
    effects = _effects(tmp_path)
    run = effects.runs("base", "test")[0].counts["pope"]
    counts = {name: run.of(f"adversarial/{name}").sum() for name in ("tp", "fp", "fn")}
    only = Effects(effects.plan, [one for one in effects.runs("base", "test") if one.base == 0])
    # pope's f1 is not among the simulated values: the ledger names the metric, the benchmark makes it
    named = dataclasses.replace(only.runs("base", "test")[0].values[-1], key=F1)
    with_f1 = Effects(effects.plan, [dataclasses.replace(only.runs("base", "test")[0], values=(named,))])
    value = with_f1.value("base", F1, "test")
    assert value is not None
    assert value.value == pytest.approx(2 * counts["tp"] / (2 * counts["tp"] + counts["fp"] + counts["fn"]))


def test_parts_whose_counts_have_groups_have_effects(tmp_path: Path) -> None:
    """MME's ``position/both/right`` is a count of the part ``position``, in which pairs of questions are right."""
    effects = _effects(tmp_path, bases=1)
    run = effects.runs("base", "test")[0]
    names = ("position/both/n", "position/both/right", "position/n", "position/right", "position/yes")
    sums = np.array([[1, 0, 2, 1, 1], [1, 1, 2, 2, 1]] * (IMAGES // 2))
    accuracy, both = (Key("mme", metric, "position") for metric in ("accuracy", "accuracy_plus"))
    values = tuple(MetricValue(key, value, len(sums)) for key, value in ((accuracy, 0.75), (both, 0.5)))
    counts = {"mme": ImageCounts(run.counts["pope"].images, names, sums)}
    found = Effects(effects.plan, [dataclasses.replace(run, values=values, counts=counts)])
    for key, value in ((accuracy, 0.75), (both, 0.5)):
        effect = found.value("base", key, "test")
        assert effect is not None
        assert effect.value == value


@pytest.mark.parametrize(
    ("bases", "seeds", "scope"),
    [
        (3, 2, "over bases and images"),
        (1, 3, "over training seeds and images, of one base"),
        (1, 1, "over images alone, of one base"),
    ],
)
def test_an_effect_says_what_its_interval_is_over(tmp_path: Path, bases: int, seeds: int, scope: str) -> None:
    change = _effects(tmp_path, bases, seeds).difference("bdhs", "base", CHAIR, "test")
    assert change is not None
    assert change.scope == scope
    assert len(change.estimate.of_units) == (bases if bases > 1 else seeds)


def test_bases_that_only_one_row_has_take_no_part(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["bdhs"])
    runs = [measured("base", 0.2, base) for base in range(3)] + [measured("bdhs", 0.1, base) for base in (1, 2)]
    effects = Effects(plan, runs)
    change = effects.difference("bdhs", "base", CHAIR, "test")
    assert change is not None
    assert change.bases == (1, 2)
    assert effects.difference("bdhs", "base", Key("chair", "nothing", ALL), "test") is None
    assert effects.difference("bdhs", "base", CHAIR, "dev") is None


@pytest.mark.parametrize("images", [5, 6])
def test_few_images_that_changed_are_no_evidence(tmp_path: Path, images: int) -> None:
    """Whatever the interval is: on five, exchanging row and base image by image makes no p below 2 / 2^5."""
    plan, runs = plan_of(tmp_path, ["bdhs"]), []
    for base in (measured("base", 0.2, number) for number in range(3)):
        chair = base.counts["chair"]
        more = np.zeros_like(chair.sums)
        more[:images, chair.names.index("hallucinated")] = 1
        changed = {**base.counts, "chair": dataclasses.replace(chair, sums=chair.sums + more)}
        runs += [base, dataclasses.replace(base, row="bdhs", counts=changed)]
    effects = Effects(plan, runs)
    change, value = effects.difference("bdhs", "base", CHAIR, "test"), effects.value("bdhs", CHAIR, "test")
    assert change is not None
    assert value is not None
    assert change.low > 0
    assert (change.off_zero, change.better) == ((False, None) if images == 5 else (True, False))
    assert change.estimate.p_above(0) >= 2 ** (1 - images)
    assert (change.estimate.changed, value.estimate.changed) == (images, None)


def test_grid_points_and_unknown_rows_take_no_part(tmp_path: Path) -> None:
    runs = [measured("base", 0.2), measured("bdhs", 0.1, is_grid_point=True), measured("gone", 0.1)]
    effects = Effects(plan_of(tmp_path, ["bdhs"]), runs)
    assert effects.rows("test") == ["base"]


def test_runs_on_other_images_are_left_out_and_named(tmp_path: Path) -> None:
    runs = [measured("base", 0.2), measured("bdhs", 0.1), measured("sft", 0.2, images=IMAGES + 1)]
    effects = Effects(plan_of(tmp_path, ["bdhs", "sft"]), runs)
    assert effects.rows("test") == ["base", "bdhs"]
    assert any("sft/test-base0-seed0" in warning for warning in effects.warnings)


def test_a_run_that_lacks_many_scores_is_left_out_and_named(tmp_path: Path) -> None:
    base, bdhs, sft = measured("base", 0.2), measured("bdhs", 0.1), measured("sft", 0.2)
    sums = sft.counts["chair"].sums.copy()
    sums[: IMAGES // 10 + 1] = 0
    lacking = {**sft.counts, "chair": dataclasses.replace(sft.counts["chair"], sums=sums)}
    effects = Effects(plan_of(tmp_path, ["bdhs", "sft"]), [base, bdhs, dataclasses.replace(sft, counts=lacking)])
    assert effects.warnings == [
        "sft/test-base0-seed0 is left out: it lacks the score of a question on 7 of 60 images of chair."
    ]
    change = effects.difference("bdhs", "base", CHAIR, "test")
    assert change is not None
    assert change.images == IMAGES
    assert effects.difference("sft", "base", CHAIR, "test") is None


def test_the_form_of_answers_is_marked_and_is_no_news(tmp_path: Path) -> None:
    base, bdhs = measured("base", 0.2), measured("bdhs", 0.02)
    values = tuple(dataclasses.replace(value, unread=0.6) for value in bdhs.values)
    plan = plan_of(tmp_path, ["bdhs"], [claim("1", {"row": "bdhs", "direction": "lower"})])
    runs = [base, dataclasses.replace(bdhs, values=values)]
    change = Effects(plan, runs).difference("bdhs", "base", CHAIR, "test")
    assert change is not None
    assert change.off_zero
    assert (change.better, change.text().endswith(" (form only)")) == (None, True)
    found = conclude(plan, runs)
    assert [one.verdict.outcome for one in found.claims] == ["cannot be told"]
    assert any(
        warning.startswith("bdhs on test: up to 60% of a model's answers could not be read for chair chair_i")
        for warning in found.warnings
    )


def test_images_without_an_answer_are_left_out_of_every_row(tmp_path: Path) -> None:
    base, bdhs = measured("base", 0.2), measured("bdhs", 0.1)
    sums = bdhs.counts["chair"].sums.copy()
    sums[:5] = 0
    counts = {**bdhs.counts, "chair": dataclasses.replace(bdhs.counts["chair"], sums=sums)}
    effects = Effects(plan_of(tmp_path, ["bdhs"]), [base, dataclasses.replace(bdhs, counts=counts)])
    value = effects.value("base", CHAIR, "test")
    assert value is not None
    assert value.images == IMAGES - 5
    assert value.value == pytest.approx(
        base.counts["chair"].of("hallucinated")[5:].sum() / base.counts["chair"].of("mentions")[5:].sum()
    )


def test_the_same_ledger_gives_the_same_digits(tmp_path: Path) -> None:
    first, again = (_effects(tmp_path).difference("bdhs", "base", CHAIR, "test") for _ in range(2))
    assert first == again


def test_different_seeds_are_averaged_where_none_is_shared(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["bdhs", "sft"])
    runs = [measured("bdhs", 0.1, 0, seed, noise=seed) for seed in (0, 1)]
    runs += [measured("sft", 0.2, 0, seed, noise=seed) for seed in (2, 3)]
    change = Effects(plan, runs).difference("bdhs", "sft", CHAIR, "test")
    assert change is not None
    assert len(change.estimate.of_units) == 1
    means = [np.mean([run.value(CHAIR).value for run in runs if run.row == row]) for row in ("bdhs", "sft")]
    assert change.value == pytest.approx(means[0] - means[1])


def test_a_row_that_was_run_once_says_nothing_of_training_seeds(tmp_path: Path) -> None:
    """Against each seed of another row it would be one draw that looks like several."""
    runs = [measured("base", 0.2), measured("sft", 0.2, noise=9)]
    runs += [measured("bdhs", 0.1, 0, seed, noise=seed) for seed in (0, 1, 2)]
    effects = Effects(plan_of(tmp_path, ["bdhs", "sft"]), runs)
    for row, against in (("bdhs", "sft"), ("sft", "bdhs")):
        change = effects.difference(row, against, CHAIR, "test")
        assert change is not None
        assert (change.scope, change.seeds) == ("over images alone, of one base", (1, 3))
        values = [effects.value(name, CHAIR, "test") for name in (row, against)]
        assert change.value == pytest.approx(values[0].value - values[1].value)  # type: ignore[union-attr]
    change = effects.difference("bdhs", "base", CHAIR, "test")
    assert change is not None
    assert (change.scope, change.seeds) == ("over training seeds and images, of one base", (3, 3))


def test_values_without_counts_have_no_interval_and_are_no_error(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["bdhs"])
    bare = [dataclasses.replace(measured(row, 0.2), counts={}) for row in ("base", "bdhs")]
    effects = Effects(plan, bare)
    assert effects.rows("test") == ["base", "bdhs"]
    assert effects.value("bdhs", CHAIR, "test") is None
    assert effects.difference("bdhs", "base", CHAIR, "test") is None


def test_pairs_that_nobody_trains_on_are_no_base(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["bdhs"])
    pairs = Row("only-pairs", data="pairs")
    plan = dataclasses.replace(plan, rows={pairs.name: pairs, **plan.rows})
    assert Effects(plan, []).base_of("bdhs") == "base"


def test_metrics_that_a_judge_gave_have_effects(tmp_path: Path) -> None:
    judged = CHAIR._replace(metric="chair_i@judge/0c0ffee0/t0/both")
    runs = [measured("base", 0.2), measured("bdhs", 0.1)]
    runs = [dataclasses.replace(one, values=(dataclasses.replace(one.values[0], key=judged),)) for one in runs]
    change = Effects(plan_of(tmp_path, ["bdhs"]), runs).difference("bdhs", "base", judged, "test")
    assert change is not None
    assert change.better


def test_a_run_without_any_answer_leaves_no_effect(tmp_path: Path) -> None:
    silent = measured("bdhs", 0.1)
    chair = silent.counts["chair"]
    counts = {**silent.counts, "chair": dataclasses.replace(chair, sums=chair.sums * 0)}
    runs = [measured("base", 0.2), dataclasses.replace(silent, counts=counts)]
    effects = Effects(plan_of(tmp_path, ["bdhs"]), runs)
    assert effects.value("base", CHAIR, "test"), "of which every answer has a score"
