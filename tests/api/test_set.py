"""What ``--set`` (``set`` in Python) gives means the same as an option, and is not given by both."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.api.options import build_recipe, evaluate_recipe, recipe_name, train_recipe
from mmpref.errors import UsageError
from mmpref.recipes.resolve import parse_set

RESOLVERS: dict[str, Any] = {"build-dataset": build_recipe, "train": train_recipe, "evaluate": evaluate_recipe}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("build-dataset", {"model": "me/vlm", "source": "mine.csv"}),
        ("build-dataset", {"source": "mine.csv"}),
        ("train", {"model": "me/vlm", "dataset": ["mine"]}),
        ("evaluate", {"model": "me/vlm"}),
    ],
)
def test_what_names_the_model_or_the_rows_decides_the_recipe(command: str, options: dict[str, Any]) -> None:
    resolved = RESOLVERS[command]
    wanted = resolved(**options)
    several = {name: [value] if name == "source" else value for name, value in options.items()}
    assert resolved(set=several) == wanted
    for name, value in several.items():
        rest = {one: held for one, held in options.items() if one != name}
        assert resolved(set={name: value}, **rest) == wanted
    assert recipe_name(None, None, options) == recipe_name(None, options.get("model"))


def test_a_limit_that_is_set_is_that_of_rows_that_are_set() -> None:
    assert build_recipe(set={"source": "mine.csv", "limit": 3}).limit == 3
    assert build_recipe(limit=3, set={"source": "mine.csv"}).limit == 3


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("build-dataset", {"limit": 4, "set": {"limit": 9}}, "limit.* is given a second time"),
        ("build-dataset", {"source": "a.csv", "set": {"source": "b.csv"}}, "source.* is given a second time"),
        ("build-dataset", {"rho_th": 0.9, "set": {"builder.visible_tokens": 3}}, "say the same thing"),
        ("build-dataset", {"rho_th": 0.9, "set": {"builder": None}}, "builder.* is given a second time"),
        ("train", {"model": "a/b", "set": {"model": "c/d"}}, "model.* is given a second time"),
        ("train", {"seed": 0, "set": {"seed": 9}}, "seed.* is given a second time"),
        ("train", {"trainer": {"max_steps": 3}, "set": {"trainer.max_steps": 4}}, "trainer.max_steps is given"),
        ("train", {"eval_benchmark": "pope", "set": {"watch.benchmarks": ["chair"]}}, "watch.benchmarks.* is given"),
        (
            "train",
            {
                "eval_benchmark": "pope",
                "watch": {"benchmark": {"pope": {"suffix": "a"}}},
                "set": {"benchmark.pope.suffix": "b"},
            },
            "watch.benchmark.pope.suffix is given",
        ),
        ("evaluate", {"benchmark": "pope", "set": {"benchmarks": ["chair"]}}, "benchmark.* is given a second time"),
        (
            "evaluate",
            {"benchmark": {"pope": {"suffix": "a"}}, "set": {"benchmark.pope.suffix": "b"}},
            "benchmark.pope.suffix is given",
        ),
    ],
)
def test_a_setting_that_is_given_twice_is_refused(command: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        RESOLVERS[command](**options)


def test_a_template_is_not_given_twice(tmp_path: Any) -> None:
    (tmp_path / "template.txt").write_text("{prompt}")
    with pytest.raises(UsageError, match=r"--prompt-file is builder.instruction, which is given a second time"):
        build_recipe(method="corrupt", prompt_file=tmp_path / "template.txt", set={"builder.instruction": "x"})


def test_settings_of_one_block_may_come_from_both() -> None:
    made = train_recipe(trainer={"max_steps": 3}, learning_rate=1e-5, set={"trainer.warmup_steps": 2})
    assert [made.trainer[name] for name in ("max_steps", "learning_rate", "warmup_steps")] == [3, 1e-5, 2]


def test_an_annotator_that_nobody_asks_is_refused_however_it_is_given() -> None:
    for given in ({"annotator": "a/b"}, {"set": {"annotator": "a/b"}}):
        with pytest.raises(UsageError, match="bdhs asks no annotator"):
            build_recipe(**given)


@pytest.mark.parametrize("assignments", [["lora.r=8", "lora={alpha: 16}"], ["lora={alpha: 16}", "lora.r=8"]])
def test_a_block_that_is_set_in_parts_has_them_all(assignments: list[str]) -> None:
    assert parse_set(assignments) == {"lora": {"r": 8, "alpha": 16}}


@pytest.mark.parametrize("command", ["build-dataset", "train"])
def test_a_method_is_not_null(command: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=r"recipe\.method is null; it must be text"):
        RESOLVERS[command](set={"method": None})
    (tmp_path / "mine.yaml").write_text(f"{command}:\n  model: a/b\n  method:\n")
    with pytest.raises(UsageError, match=r"recipe\.method is null; it must be text"):
        RESOLVERS[command](recipe=tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "given", [{"eval_every": 20}, {"eval_split": "dev"}, {"eval_limit": 5}, {"set": {"watch.every": 20}}]
)
def test_how_to_watch_needs_a_benchmark(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"watch\.\w+ needs a benchmark.* Name one with --eval-benchmark"):
        train_recipe(**given)
    assert train_recipe(eval_benchmark="pope", **given).watch.benchmarks == ("pope",)


def test_a_threshold_beside_noise_is_refused(tmp_path: Any) -> None:
    (tmp_path / "noisy.yaml").write_text("extends: testbed\nbuild-dataset: {builder: {noise_steps: 300}}\n")
    for given in (
        {"noise_steps": 500, "rho_th": 0.5},
        {"noise_steps": 500, "set": {"builder.rho_th": 0.5}},
        {"rho_th": 0.5, "set": {"builder.noise_steps": 500}},
        {"rho_th": 0.5, "recipe": tmp_path / "noisy.yaml"},
    ):
        with pytest.raises(UsageError, match="hides no image token: rho_th means nothing there"):
            build_recipe(**given)
    assert build_recipe(noise_steps=500).builder["rho_th"] == 0.9, "that of the recipe, whose hash it stays"
    whole = {"builder.noise_steps": 500, "builder.rho_th": 0.9}
    assert build_recipe(set=whole) == build_recipe(noise_steps=500), "what a card prints of such a run"
