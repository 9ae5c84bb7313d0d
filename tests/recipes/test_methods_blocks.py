"""What a recipe says for certain methods, under ``methods``, and the recipes that it extends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mmpref.align.recipe import TrainRecipe
from mmpref.api.options import recipe
from mmpref.api.planned import recipe_of_pairs
from mmpref.errors import UsageError

MINE = "http://127.0.0.1:8000/v1#mine"


@pytest.mark.parametrize(
    ("below", "command", "said", "key", "value"),
    [
        ("llava-1.5-7b", "build-dataset", {"method": "corrupt", "annotator": MINE}, "annotator", MINE),
        (
            "llava-1.6-7b",
            "train",
            {"method": "reward-model", "trainer": {"learning_rate": 5e-6, "max_steps": 10}},
            "trainer",
            {"learning_rate": 5e-6, "max_steps": 10, "warmup_steps": 120},
        ),
        (
            "llava-1.6-7b",
            "train",
            {"method": "rloo", "trainer": {"learning_rate": 5e-6, "max_grad_norm": 0.5}, "loss": {"reward": "m:f"}},
            "trainer",
            {"learning_rate": 5e-6, "max_grad_norm": 0.5, "gradient_accumulation_steps": 64},
        ),
        (
            "llava-1.5-7b",
            "build-dataset",
            {"method": "chair-rank", "builder": {"synonyms": "words.txt"}},
            "builder",
            {"synonyms": "words.txt"},
        ),
        (
            "testbed",
            "train",
            {"method": "online-dpo", "annotator": MINE, "loss": {"temperature": 1.0}},
            "loss",
            {"temperature": 1.0, "max_answer_tokens": 64},
        ),
        ("testbed", "train", {"method": "online-dpo", "annotator": MINE}, "annotator", MINE),
    ],
)
def test_what_a_recipe_says_goes_over_the_methods_of_the_one_that_it_extends(
    tmp_path: Path, below: str, command: str, said: dict[str, Any], key: str, value: Any
) -> None:
    """Whether it names the method itself, or an option does."""
    for name, over, options in (
        ("own", said, {}),
        ("option", {one: held for one, held in said.items() if one != "method"}, {"method": said["method"]}),
    ):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"extends": below, command: over}))
        (tmp_path / f"over-{name}.yaml").write_text(f"extends: {name}.yaml\n{command}: {{seed: 3}}\n")
        for file in (name, f"over-{name}"):
            found = getattr(recipe(tmp_path / f"{file}.yaml", command, **options), key)
            assert (found if isinstance(value, str) else {one: found[one] for one in value}) == value


def test_the_methods_of_the_last_recipe_go_over_all_that_is_said_below(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text(
        "train: {model: a/b, seed: 1, limit: 5, methods: {dpo: {seed: 2, limit: 6, loss: {beta: 0.2}}}}\n"
    )
    (tmp_path / "over.yaml").write_text("extends: below.yaml\ntrain: {seed: 3, methods: {dpo: {limit: 7}}}\n")
    made = recipe(tmp_path / "over.yaml", "train", method="dpo")
    assert isinstance(made, TrainRecipe)
    assert (made.seed, made.limit, made.loss) == (3, 7, {"beta": 0.2})
    other = recipe(tmp_path / "over.yaml", "train", method="ipo")
    assert isinstance(other, TrainRecipe)
    assert (other.seed, other.limit, other.loss) == (3, 5, {})


def test_null_takes_away_what_the_methods_below_say(tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text("extends: testbed\nbuild-dataset: {method: opa, annotator: null}\n")
    made: Any = recipe(tmp_path / "over.yaml", "build-dataset")
    assert made.annotator is None


def test_the_same_in_another_unit_goes_over_the_methods_below(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text("build-dataset: {methods: {bdhs: {builder: {rho_th: 0.5}}}}\n")
    (tmp_path / "over.yaml").write_text("extends: below.yaml\nbuild-dataset: {builder: {visible_tokens: 3}}\n")
    made: Any = recipe(tmp_path / "over.yaml", "build-dataset")
    assert (made.builder.get("rho_th"), made.builder["visible_tokens"]) == (None, 3)


def test_what_is_said_of_another_method_between_does_not_take_the_methods_own_away(tmp_path: Path) -> None:
    (tmp_path / "between.yaml").write_text("extends: testbed\nbuild-dataset: {method: candidates}\n")
    (tmp_path / "over.yaml").write_text("extends: between.yaml\nbuild-dataset: {method: chair-rank}\n")
    made: Any = recipe(tmp_path / "over.yaml", "build-dataset")
    assert made.builder["synonyms"] == "pkg:mmpref.testbed/synonyms.txt"
    assert made.source == ("testbed-objects",) or made.source == "testbed-objects"


def test_pairs_that_a_training_builds_first_are_made_so_too(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"extends: llava-1.5-7b\nbuild-dataset: {{method: corrupt, source: mine.csv, annotator: '{MINE}'}}\n"
    )
    pairs = recipe_of_pairs(TrainRecipe("pkg:mmpref.testbed/model"), str(tmp_path / "mine.yaml"))
    assert pairs.annotator == MINE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {model: a/b, methods: {dop: {seed: 2}}}", "train recipe.methods has no method 'dop'.*'dpo'"),
        ("evaluate: {model: a/b, methods: {pope: {seed: 2}}}", "evaluate recipe has no setting 'methods'"),
        (
            "build-dataset: {methods: {unrelated-text: {limit: 7}, mismatched: {seed: 3}}}",
            "build-dataset recipe.methods has the method 'mismatched' twice",
        ),
    ],
)
def test_methods_that_would_have_no_effect_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=says):
        recipe(tmp_path / "mine.yaml", text.partition(":")[0])
