"""How many image tokens a try shows: rho_th, visible tokens, and the choice by first tries."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpref.align.method import METHODS
from mmpref.api.options import build_recipe
from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.data.sources import Source
from mmpref.errors import InputError, UsageError
from mmpref.recipes import schema
from mmpref.sampling.bdhs import BdhsSampler, BdhsSettings
from mmpref.sampling.rho import GRID, WITHIN, Choice, Point, choose, choose_rho
from mmpref.sampling.similarity import load_similarity
from mmpref.tables.open import open_table
from mmpref.types import Example, ImageData, ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
SHORT: dict[str, Any] = {"similarity_model": EMBEDDER, "max_tail_tokens": 24, "max_answer_tokens": 40}
SETTINGS = BdhsSettings(**SHORT)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelRef(MODEL))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    rows = next(Source(open_table("testbed"), limit=10).blocks(10, lambda _: True))[1]
    return [row for row in rows if isinstance(row, Example)]


def test_visible_tokens_are_rho_row_by_row() -> None:
    four = BdhsSettings(visible_tokens=4)
    assert [four.rho(tokens) for tokens in (400, 16, 4, 3, 0)] == [0.99, 0.75, 0.0, 0.0, 0.0]
    assert BdhsSettings(visible_tokens=0).rho(2928) == 1.0
    assert [BdhsSettings(rho_th=0.9).rho(tokens) for tokens in (3, 2928)] == [0.9, 0.9]
    assert 1 - BdhsSettings().rho(2928) == pytest.approx(29.28 / 2928)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"visible_tokens": -1.0}, "at least 0"),
        ({"visible_tokens": float("nan")}, "at least 0"),
        ({"visible_tokens": float("inf")}, "at least 0"),
        ({"visible_tokens": 4.0, "rho_th": 0.99}, "same thing"),
        ({"visible_tokens": 4.0, "noise_steps": 500}, "hides no image token"),
        ({"rho_th": "auto", "noise_steps": 500}, "hides no image token"),
        ({"rho_th": "some"}, "must be a number or 'auto'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        schema.build(BdhsSettings, settings)


def test_online_bdhs_has_no_rows_to_choose_by() -> None:
    cls = METHODS.get("online-bdhs").settings
    assert schema.build(cls, {"bdhs": {"visible_tokens": 4}}).bdhs.rho(16) == 0.75
    with pytest.raises(UsageError, match="auto"):
        schema.build(cls, {"bdhs": {"rho_th": "auto"}})


def test_a_recipe_that_does_not_use_it_has_the_hash_that_it_had() -> None:
    assert "visible_tokens" not in schema.as_plain(BdhsSettings())
    assert "visible_tokens" not in schema.as_plain(METHODS.get("online-bdhs").settings())["bdhs"]
    assert schema.as_plain(BdhsSettings())["rho_th"] == 0.99
    assert schema.fingerprint(BdhsSettings()) == "777e3c074ee05076c678f16397d1873d8030cd818d87a236e9da0d0dc439491d"
    assert schema.as_plain(BdhsSettings(visible_tokens=4))["visible_tokens"] == 4
    again = schema.build(BdhsSettings, schema.as_plain(BdhsSettings(visible_tokens=4)))
    assert again == BdhsSettings(visible_tokens=4)


def test_the_later_layer_wins_and_one_layer_names_one(tmp_path: Path) -> None:
    def builder(**options: Any) -> dict[str, Any]:
        recipe = build_recipe(**{"model": "m", "source": "s", **options})
        return {name: value for name, value in recipe.builder.items() if name in ("rho_th", "visible_tokens")}

    assert builder() == {"rho_th": 0.99}
    assert builder(visible_tokens=4) == builder(builder={"visible_tokens": 4}) == {"visible_tokens": 4}
    (tmp_path / "gist.yaml").write_text("build-dataset: {builder: {visible_tokens: 4}}")
    assert builder(recipe=tmp_path / "gist.yaml") == {"visible_tokens": 4}
    assert builder(recipe=tmp_path / "gist.yaml", rho_th="auto") == {"rho_th": "auto"}
    assert builder(recipe=build_recipe(model="m", source="s", visible_tokens=4), rho_th=0.5) == {"rho_th": 0.5}
    (tmp_path / "both.yaml").write_text("build-dataset: {builder: {visible_tokens: 4, rho_th: 0.9}}")
    for both in (
        {"visible_tokens": 4, "rho_th": 0.9},
        {"builder": {"visible_tokens": 4}, "rho_th": 0.9},
        {"visible_tokens": 4, "set": {"builder.rho_th": 0.5}},
        {"set": {"builder": {"visible_tokens": 4, "rho_th": 0.9}}},
        {"recipe": tmp_path / "both.yaml"},
    ):
        with pytest.raises(UsageError, match="rho_th and visible_tokens say the same thing"):
            build_recipe(**{"model": "m", "source": "s", **both})


def test_a_try_shows_so_many_tokens_in_the_mean(policy: Policy, examples: list[Example]) -> None:
    settings = replace(SETTINGS, rho_th=None, visible_tokens=5.0, iterations=200)
    (job,) = BdhsSampler(policy, load_similarity(EMBEDDER), settings, 0)._jobs(examples[:1])
    kept = job.shown.sum(1)
    assert np.mean(kept) == pytest.approx(5, abs=4 * np.sqrt(5 / 200))
    assert job.rho_th == 1 - 5 / job.image_tokens


@pytest.mark.parametrize("options", [{"visible_tokens": 3.0}, {"rho_th": 0.9}])
def test_the_run_says_both(options: dict[str, float], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mmpref"):
        manifest = build_dataset(
            BuildRecipe(MODEL, "testbed", limit=6, builder={**SHORT, "iterations": 1, **options}), tmp_path / "run"
        )
    masking = json.loads((tmp_path / "run" / "report.json").read_text())["masking"]
    assert manifest["masking"] == masking
    shown, tokens = masking["visible_tokens"], masking["image_tokens"]
    assert shown == pytest.approx((1 - masking["rho_th"]) * tokens, rel=1e-4)
    assert shown == pytest.approx(options.get("visible_tokens", 0.1 * tokens), rel=1e-4)
    said = re.search(r"rho_th (\S+): of the (\d+) image tokens of the first row, (\S+) stay visible", caplog.text)
    assert said
    assert float(said[1]) == pytest.approx(masking["rho_th"], abs=1e-4)
    assert set(manifest["notes"]) == {"tries", "tries_cut_off"}


@pytest.mark.parametrize(("options", "told"), [({"rho_th": 0.99}, True), ({"visible_tokens": 0.5}, False)])
def test_less_than_one_token_is_told_to_who_did_not_say_so(
    options: dict[str, float], told: bool, policy: Policy, examples: list[Example], caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(SETTINGS, **{"rho_th": None, "visible_tokens": None, **options})
    sampler = BdhsSampler(policy, load_similarity(EMBEDDER), settings, 0, advice="Show more.")
    (job,) = sampler._jobs(examples[:1])
    share = f"{100 * 0.99**job.image_tokens:.0f} %"
    nothing = f"less than one stays visible: {share} of the tries see nothing of the image. Show more."
    assert (nothing in caplog.text) == told


def test_first_tries_are_those_of_the_sampler(policy: Policy, examples: list[Example]) -> None:
    similarity, seed = load_similarity(EMBEDDER), 3
    choice = choose_rho(policy, similarity, replace(SETTINGS, rho_th="auto"), seed, examples)
    assert choice.rows == len(examples)
    for point in choice.curve:
        visible = point.visible_tokens
        settings = replace(SETTINGS, rho_th=0.0 if visible is None else None, visible_tokens=visible, iterations=1)
        made = BdhsSampler(policy, similarity, settings, seed)(examples)
        assert point.resolved == sum(one.similarity < settings.similarity_threshold for one in made) / len(examples)
        assert point.rho_th == pytest.approx(np.mean([one.rho_th for one in made]))
    assert choice.chosen == choose(choice.curve)
    assert replace(SETTINGS, **choice.settings).rho(51) == pytest.approx(choice.chosen.rho_th, abs=0.5)


def test_the_rule_takes_the_most_that_is_nearly_the_best() -> None:
    def chosen(*shares: float) -> float | None:
        return choose([Point(visible, 0.0, share) for visible, share in zip(GRID, shares, strict=True)]).visible_tokens

    assert chosen(0.75, 0.75, 0.67, 0.6, 0.5, 0.4, 0.2, 0.1) == 1
    assert chosen(0.75, 0.9, 0.88, 0.9 - WITHIN, 0.5, 0.4, 0.2, 0.1) == 4
    assert chosen(0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.88) is None
    assert chosen(0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1) == 0
    everything = Choice(1, (), Point(None, 0.0, 1.0)).settings
    assert replace(SETTINGS, **everything).rho(51) == 0


def test_rows_that_cannot_be_used_are_left_out(policy: Policy, examples: list[Example]) -> None:
    broken = replace(examples[0], id="broken", images=(ImageData(b"no image"),))
    settings, similarity = replace(SETTINGS, rho_th="auto"), load_similarity(EMBEDDER)
    alone = choose_rho(policy, similarity, settings, 0, examples[:2])
    assert choose_rho(policy, similarity, settings, 0, [examples[0], broken, examples[1]]) == alone
    with pytest.raises(InputError, match="No row"):
        choose_rho(policy, similarity, settings, 0, [broken])


def test_auto_is_chosen_once_and_the_same_by_any_shard(tmp_path: Path) -> None:
    recipe = BuildRecipe(MODEL, "testbed", limit=8, block_size=4, builder={**SHORT, "rho_th": "auto"})
    whole = build_dataset(recipe, tmp_path / "whole")
    build_dataset(recipe, tmp_path / "parts", shard=(1, 2))
    pinned = json.loads((tmp_path / "parts/.mmpref/pilot.json").read_text())
    # What a restart finds is what it goes on with, whatever it would choose itself.
    other = {**pinned, "settings": {"rho_th": None, "visible_tokens": 40.0}}
    parts = build_dataset(recipe, tmp_path / "parts", shard=(0, 2))
    assert [file["sha256"] for file in parts["data"]] == [file["sha256"] for file in whole["data"]]
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "parts")]
    assert reports[0] == reports[1]
    assert reports[0]["rho_auto"] == pinned["report"]["rho_auto"]
    assert reports[0]["rho_auto"]["rows"] == 8
    build_dataset(recipe, tmp_path / "pinned", shard=(1, 2))
    (tmp_path / "pinned/.mmpref/pilot.json").write_text(json.dumps(other))
    build_dataset(recipe, tmp_path / "pinned", shard=(0, 2))
    assert (
        json.loads((tmp_path / "pinned/report.json").read_text())["masking"]["visible_tokens"]
        == (40 + reports[0]["masking"]["visible_tokens"]) / 2
    )
