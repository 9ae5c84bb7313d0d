"""Arms: several runs, whose seeds and judges are a part of what is uncertain."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mmpref.bench.arms import arm_effects
from mmpref.bench.compare import compare
from mmpref.cli.main import program
from mmpref.errors import InputError
from tests.bench.finished_runs import finished_run

IMAGES = 200


def _arm(
    folder: Path, name: str, effect: float, of_seeds: list[float], seed: int = 0, judges: tuple[str, ...] = ("",)
) -> list[Path]:
    """A run for each seed and judge: base + effect + what the seed adds + what each image adds, in all runs alike."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(0).normal(0.5, 0.1, IMAGES)
    image = rng.normal(0, 0.05, IMAGES)
    runs = []
    for number, of_seed in enumerate(of_seeds):
        for place, judge in enumerate(judges):
            adapter = base + effect + of_seed + image + 0.1 * place
            path = folder / f"{name}-{number}{judge}"
            scored = {"base": base + 0.3 * place, "adapter": adapter + 0.3 * place}
            runs.append(finished_run(path, scored, weights=f"{name}{number}", judge=judge))
    return runs


def test_how_much_of_a_difference_is_seed(tmp_path: Path) -> None:
    seeds = [-0.06, 0.0, 0.06]
    effects, warnings = arm_effects({"dpo": _arm(tmp_path, "dpo", 0.05, seeds)})
    assert warnings == []
    value, change = effects
    assert (value.against, change.against) == (None, "base")
    assert (change.seeds, change.judges) == (3, 1)
    assert change.seed_deviation == pytest.approx(0.06)
    assert math.isnan(change.judge_deviation)
    # 0.06^2 / 3 of seeds against 0.05^2 / 200 of images
    assert change.seed_share == pytest.approx(0.0012 / (0.0012 + 0.0000125), abs=0.004)
    assert change.over_images.low > 0, "of these very adapters it is clear"
    assert change.estimate.low < 0 < change.estimate.high, "of the next seed it is not"
    assert change.p_holm
    assert change.p_holm > 0.05
    alike, _ = arm_effects({"dpo": _arm(tmp_path, "alike", 0.05, [-0.001, 0.0, 0.001])})
    assert alike[1].estimate.low > 0
    assert alike[1].seed_share < 0.1


def test_few_images_are_no_evidence(tmp_path: Path) -> None:
    """However many seeds saw them change: no test of three images makes p smaller than 2 / 2^3."""
    arms = {}
    for arm, more in (("sft", 0.25), ("dpo", 0.5)):
        for seed in range(2):
            right = {"base": np.zeros(40), "adapter": np.array([more] * 3 + [0.0] * 37)}
            run = finished_run(tmp_path / f"{arm}-{seed}", right, weights=f"{arm}{seed}")
            arms.setdefault(arm, []).append(run)
    effects, _ = arm_effects(arms)
    differences = [effect for effect in effects if effect.against]
    assert [(effect.arm, effect.against) for effect in differences] == [
        ("sft", "base"),
        ("dpo", "base"),
        ("dpo", "sft"),
    ]
    assert [effect.p for effect in differences] == [0.25] * 3


def test_nothing_is_said_of_too_few_pairs(tmp_path: Path) -> None:
    runs = _arm(tmp_path, "dpo", 0.05, [-0.001, 0.001])
    for lost, told in ((20, False), (21, True)):
        for file in (file for run in runs for file in (run / "samples").glob("*.parquet")):
            rows = pq.read_table(file).to_pylist()
            lacking = [{"missing": number < lost, "counted": number >= lost} for number in range(IMAGES)]
            pq.write_table(pa.Table.from_pylist([row | of for row, of in zip(rows, lacking, strict=True)]), file)
        effects, warnings = arm_effects({"dpo": runs})
        assert bool(effects) != told
        assert ["too few for a verdict; the arm dpo is left out" in warning for warning in warnings] == [True] * told


def test_nothing_is_said_of_what_measures_the_form_of_answers(tmp_path: Path) -> None:
    runs = _arm(tmp_path, "dpo", 0.05, [-0.001, 0.001])
    content = json.loads((runs[1] / "results.json").read_text())
    content["results"][0] |= {"answers": IMAGES, "parse_failures": IMAGES}
    (runs[1] / "results.json").write_text(json.dumps(content))
    effects, [warning] = arm_effects({"dpo": runs})
    assert effects == ()
    assert warning.startswith("pope accuracy: most answers of a run of the arm dpo could not be read")


def test_judges_lie_apart(tmp_path: Path) -> None:
    runs = _arm(tmp_path, "dpo", 0.05, [-0.01, 0.01], judges=("a", "b"))
    (value, change), _ = arm_effects({"dpo": runs})
    assert value.key.metric == "accuracy"
    assert (change.seeds, change.judges) == (2, 2)
    assert value.judge_deviation == pytest.approx(0.4 / 2**0.5)
    assert change.judge_deviation == pytest.approx(0.1 / 2**0.5)
    assert change.seed_deviation == pytest.approx(0.02 / 2**0.5)
    effects, warnings = arm_effects({"dpo": runs[:3]})
    assert (effects, len(warnings)) == ((), 1)
    assert "not every run of the arm dpo was judged by the same judges" in warnings[0]


def test_two_arms(tmp_path: Path) -> None:
    dpo = _arm(tmp_path, "dpo", 0.0, [-0.01, 0.0, 0.01], seed=1)
    bdhs = _arm(tmp_path, "bdhs", 0.1, [0.01, -0.01, 0.0], seed=2)
    effects, warnings = arm_effects({"dpo": dpo, "bdhs": bdhs})
    between = effects[-1]
    assert (between.arm, between.against) == ("bdhs", "dpo")
    assert between.estimate.value == pytest.approx(0.1, abs=0.02)
    assert between.estimate.low > 0
    assert warnings == []
    effects, warnings = arm_effects({"dpo": dpo, "bdhs": bdhs[:1]})
    assert effects[-1].against == "base"
    assert "dpo has 3 runs and bdhs 1" in warnings[0]


def test_what_is_no_arm(tmp_path: Path) -> None:
    run = _arm(tmp_path, "dpo", 0.0, [0.0])[0]
    same = finished_run(tmp_path / "same", {"base": np.zeros(5), "adapter": np.zeros(5)}, weights="dpo0")
    with pytest.raises(InputError, match="of the same model by the same judge"):
        arm_effects({"dpo": [run, same]})
    other = finished_run(tmp_path / "other", {"base": np.zeros(5), "adapter": np.zeros(5)}, weights="o")
    effects, warnings = arm_effects({"dpo": [run, other]})
    assert effects == ()
    assert "other: adapter of the arm dpo did not answer the same samples" in warnings[0]


def test_on_the_screen_and_a_page(tmp_path: Path) -> None:
    runs = ",".join(map(str, _arm(tmp_path, "dpo", 0.05, [-0.06, 0.0, 0.06])))
    words = ["compare", "--arm", f"dpo={runs}"]
    done = CliRunner().invoke(program, [*words, "--html", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    assert "dpo - base" in done.stdout
    assert "no clear change" in done.stdout
    assert "SD seeds" in (tmp_path / "page.html").read_text()
    rows = json.loads(CliRunner().invoke(program, [*words, "--json"]).stdout)["arms"]
    assert [row["against"] for row in rows] == [None, "base"]
    assert rows[1]["judge_deviation"] is None
    assert compare([], arms={"dpo": [Path(run) for run in runs.split(",")]}).columns == ()
