"""Options mean the same in Python as on the command line: names, defaults, recipes, merging."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml

import mmpref
from mmpref.api.build import run_build
from mmpref.api.evaluate import run_evaluate
from mmpref.api.options import build_recipe, evaluate_recipe, recipe, train_recipe
from mmpref.api.watching import with_watched
from mmpref.cli.main import program
from mmpref.errors import InputError, UsageError
from mmpref.recipes import resolve
from mmpref.recipes.schema import fingerprint

OF_THE_COMMAND_LINE = {
    *("push", "hub_id", "private", "accept_license", "replace", "as_json", "html", "samples", "help", "runs", "dry_run")
}
"""Options of output and pushing, which `mmpref.publish` and the results themselves are for."""
FUNCTIONS = ["build-dataset", "train", "evaluate", "iterate", "inspect", "publish", "compare"]


def options_of(command: str) -> dict[str, click.Parameter]:
    parameters = program.get_command(click.Context(program), command).params  # type: ignore[union-attr]
    return {str(one.name): one for one in parameters}


@pytest.mark.parametrize("command", FUNCTIONS)
def test_every_option_is_an_argument_of_the_same_name_and_default(command: str) -> None:
    function = getattr(mmpref, command.replace("-", "_"))
    arguments = inspect.signature(function).parameters
    hidden = OF_THE_COMMAND_LINE - ({"private", "accept_license", "replace"} if command == "publish" else set())
    if command == "train":
        hidden = hidden | {"base_hub_id"}
    if command == "publish":
        hidden = hidden | {"to_folder"}  # `mmpref.stage`
    for name, option in options_of(command).items():
        if name in hidden:
            continue
        assert name in arguments, f"{command} --{name}"
        if isinstance(option, click.Option) and not option.multiple:
            default = option.to_info_dict()["default"]
            assert arguments[name].default == default, name


@pytest.mark.parametrize("command", FUNCTIONS)
def test_every_function_documents_every_argument(command: str) -> None:
    function = getattr(mmpref, command.replace("-", "_"))
    text = inspect.getdoc(function) or ""
    assert {"Args:", "Returns:", "Raises:"} <= set(text.split())
    for name in inspect.signature(function).parameters:
        assert name in text, name


@pytest.mark.parametrize("command", ["build-dataset", "train", "evaluate"])
def test_every_setting_of_a_recipe_is_an_argument(command: str) -> None:
    resolved = recipe("testbed", command)
    arguments = inspect.signature(getattr(mmpref, command.replace("-", "_"))).parameters
    assert set(vars(resolved)) <= set(arguments)


def given_on_the_command_line(command: str, *words: str) -> Any:
    parsed = program.get_command(click.Context(program), command).make_context(command, list(words))  # type: ignore[union-attr]
    options = {name: value for name, value in parsed.params.items() if name not in OF_THE_COMMAND_LINE}
    work = ("output", "shard", "workers", "concurrency", "token_price", "save", "base_hub_id", "license")
    for name in (*work, *(["batch_size"] if command == "evaluate" else [])):
        options.pop(name, None)
    resolvers: dict[str, Any] = {"build-dataset": build_recipe, "train": train_recipe, "evaluate": evaluate_recipe}
    return resolvers[command](**options)


@pytest.mark.parametrize(
    ("command", "words", "options"),
    [
        ("build-dataset", [], {}),
        ("build-dataset", ["--model", "a/b", "--source", "c/d"], {"model": "a/b", "source": "c/d"}),
        (
            "build-dataset",
            ["--source", "a", "--source", "b", "--rho-th", "0.98"],
            {"source": ["a", "b"], "rho_th": 0.98},
        ),
        ("build-dataset", ["--set", "limit=null"], {"set": {"limit": None}}),
        ("build-dataset", ["--set", "builder.iterations=2"], {"builder": {"iterations": 2}}),
        ("build-dataset", ["--method", "povid"], {"method": "povid"}),
        ("build-dataset", ["--where", "margin >= 1"], {"where": "margin >= 1"}),
        ("train", ["--recipe", "paper", "--model", "a/b"], {"recipe": "paper", "model": "a/b"}),
        (
            "train",
            ["--dataset", "x", "--set", "trainer.max_steps=10"],
            {"dataset": Path("x"), "trainer": {"max_steps": 10}},
        ),
        ("train", ["--eval-benchmark", "pope", "--eval-every", "5"], {"eval_benchmark": "pope", "eval_every": 5}),
        (
            "train",
            ["--learning-rate", "5e-6", "--epochs", "2", "--batch-size", "3"],
            {"trainer": {"learning_rate": 5e-6, "num_train_epochs": 2, "per_device_train_batch_size": 3}},
        ),
        ("train", ["--epochs", "0.5"], {"set": {"trainer.num_train_epochs": 0.5}}),
        (
            "train",
            ["--eval-benchmark", "pope", "--set", "benchmark.pope.suffix=now"],
            {"watch": {"benchmarks": ["pope"], "benchmark": {"pope": {"suffix": "now"}}}},
        ),
        ("evaluate", ["--benchmark", "pope", "--limit", "3"], {"benchmark": "pope", "limit": 3}),
        ("evaluate", ["--set", "benchmark.pope.suffix=now"], {"benchmark": {"pope": {"suffix": "now"}}}),
        ("evaluate", ["--model", "https://huggingface.co/a/b"], {"model": "https://huggingface.co/a/b"}),
    ],
)
def test_both_make_the_same_recipe(command: str, words: list[str], options: dict[str, Any]) -> None:
    resolvers: dict[str, Any] = {"build-dataset": build_recipe, "train": train_recipe, "evaluate": evaluate_recipe}
    made, given = resolvers[command](**options), given_on_the_command_line(command, *words)
    assert (made, fingerprint(made)) == (given, fingerprint(given))


@pytest.mark.parametrize(
    ("command", "options", "key"),
    [
        ("train", {"learning_rate": 1e-5, "set": {"trainer.learning_rate": 1e-5}}, "trainer.learning_rate"),
        ("train", {"epochs": 1, "trainer": {"num_train_epochs": 2}}, "trainer.num_train_epochs"),
        ("train", {"batch_size": 1, "set": {"trainer": {"per_device_train_batch_size": 2}}}, "--batch-size is trainer"),
        ("train", {"eval_split": "dev", "set": {"watch.split": "dev"}}, "watch.split"),
        ("build-dataset", {"rho_th": 0.5, "set": {"builder.rho_th": 0.4}}, "builder.rho_th"),
    ],
)
def test_an_option_and_its_key_are_not_both_given(command: str, options: dict[str, Any], key: str) -> None:
    resolvers: dict[str, Any] = {"build-dataset": build_recipe, "train": train_recipe}
    with pytest.raises(UsageError, match=rf"{key}.* given a second time"):
        resolvers[command](**options)


@pytest.mark.parametrize("words", [["--epochs", "0"], ["--learning-rate", "fast"], ["--epochs", "true"]])
def test_rates_and_epochs_are_numbers_above_0(words: list[str]) -> None:
    with pytest.raises(click.BadParameter, match="not a number above 0"):
        given_on_the_command_line("train", *words)


def test_settings_of_a_benchmark_that_is_not_watched_are_refused() -> None:
    with pytest.raises(UsageError, match=r"pope, and watched are none.* Name it with --eval-benchmark=pope"):
        train_recipe(set={"benchmark.pope.suffix": "now"})
    watched = train_recipe(eval_benchmark="pope", set={"benchmark.pope.suffix": "now"})
    assert watched == train_recipe(eval_benchmark="pope", set={"watch.benchmark.pope.suffix": "now"})


def test_a_watched_benchmark_has_the_places_that_the_recipe_evaluates_with(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    both = {"pope": {"data": "mine.jsonl"}, "gqa": {"image_root": ["own"]}}
    evaluate = {"image_root": ["photos"], "columns": {"question": "frage"}, "benchmark": both}
    file.write_text(yaml.safe_dump({"train": {"watch": {"benchmarks": ["pope", "gqa"]}}, "evaluate": evaluate}))
    watch = with_watched(train_recipe(recipe=file, model="a/b", dataset="c/d"), str(file)).watch
    assert watch.benchmark == {
        "pope": {"data": "mine.jsonl", "image_root": ["photos"], "columns": {"question": "frage"}},
        "gqa": {"image_root": ["own"]},
    }


def test_a_block_is_merged_and_never_dropped() -> None:
    paper: Any = recipe("paper", "train", model="a/b")
    short: Any = recipe("paper", "train", model="a/b", trainer={"max_steps": 10})
    assert short.trainer == {**paper.trainer, "max_steps": 10}
    assert short.trainer["per_device_train_batch_size"] * short.trainer["gradient_accumulation_steps"] == 32
    dotted: Any = recipe("paper", "train", model="a/b", set={"trainer.max_steps": 10})
    assert dotted == short


def batch(recipe: Any) -> tuple[int | None, int | None]:
    return recipe.trainer.get("per_device_train_batch_size"), recipe.trainer.get("gradient_accumulation_steps")


def test_a_file_that_says_nothing_of_the_batch_has_that_of_the_command(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("train:\n  model: a/b\n  trainer: {learning_rate: 1.0e-6}\n", encoding="utf-8")
    assert batch(recipe(file, "train")) == batch(recipe("paper", "train", model="a/b")) == (4, 8)
    assert batch(recipe(file, "train", batch_size=2)) == batch(recipe("paper", "train", batch_size=2)) == (2, 8)
    file.write_text("train: {model: a/b}\n", encoding="utf-8")
    assert batch(recipe(file, "train", learning_rate=1e-5)) == batch(recipe(file, "train")) == (4, 8)
    file.write_text("train: {model: a/b, trainer: {per_device_train_batch_size: 16}}\n", encoding="utf-8")
    assert batch(recipe(file, "train")) == (16, None), "who says one of them has TRL's other"
    assert batch(recipe("plain", "train", batch_size=16)) == (16, None), "what a card of such a run prints"


def test_a_recipe_that_was_resolved_is_a_recipe_too() -> None:
    first: Any = recipe("testbed", "build_dataset", limit=8)
    assert build_recipe(recipe=first) == first
    assert build_recipe(recipe=first, rho_th=0.5).builder == {**first.builder, "rho_th": 0.5}
    with pytest.raises(UsageError, match="none of train"):
        train_recipe(recipe=first)
    with pytest.raises(UsageError, match=r"no command 'trian'.*Did you mean 'train'"):
        recipe("testbed", "trian")


def test_a_single_text_is_one_of_several() -> None:
    built = build_recipe(
        source="testbed", where="length > 3", image_root="photos", exclude_images_of="testbed-pope:test"
    )
    assert (built.where, built.image_root) == (("length > 3",), ("photos",))
    assert built.exclude_images_of == ("testbed-pope:test",)
    assert train_recipe(dataset="pairs").dataset == ("pairs",)


def test_rows_in_memory_get_names() -> None:
    rows = [{"image": b"x", "question": "?", "answer": "!"}]
    built = build_recipe(source=rows, exclude_images_of=[iter(rows)])
    [excluded] = built.exclude_images_of
    assert excluded == f"{built.source[0]}:test"  # type: ignore[index]
    evaluated = evaluate_recipe(benchmark={"pope": {"data": rows}})
    assert evaluated == evaluate_recipe(set={"benchmark.pope.data": rows})
    assert evaluated == evaluate_recipe(set={"benchmark": {"pope": {"data": rows}}})
    assert evaluated.benchmark["pope"] == {
        **resolve.load("testbed")["evaluate"]["benchmark"]["pope"],
        "data": built.source[0],  # type: ignore[index]
    }


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("train", {"trainer": {"max_step": 10}}, "no setting 'max_step'. Did you mean 'trainer.max_steps'"),
        ("train", {"trainer": {"max_steps": "ten"}}, "must be a whole number"),
        ("train", {"set": {"loss.bta": 1}}, "no setting 'bta'"),
        ("build-dataset", {"builder": {"rho": 0.5}}, "no setting 'rho'. Did you mean 'builder.rho_th'"),
        (
            "build-dataset",
            {"method": "mismatched", "builder": {"rho_th": 0.5}},
            "no setting 'rho_th'. There are: builder.same_prompt",
        ),
        ("evaluate", {"benchmark": {"pope": {"dta": "x"}}}, "no setting 'dta'"),
        (
            "evaluate",
            {"benchmark": {"mme": {"data": "x"}}},
            "settings for the benchmark mme, and evaluated are pope, chair",
        ),
        ("evaluate", {"benchmarks": "pope", "set": {"benchmark.chair.data": "x"}}, "Name it with --benchmark=chair"),
        ("evaluate", {"benchmark": {"pop": {}}}, "Did you mean 'pope'"),
        ("evaluate", {"set": {"benchmraks": ["pope"]}}, "no setting 'benchmraks'. Did you mean 'benchmarks'"),
        ("evaluate", {"set": {"benchmrk.pope.data": "x"}}, "no setting 'benchmrk'. Did you mean 'benchmark'"),
        ("train", {"set": {"lroa.r": 4}}, "no setting 'lroa'. Did you mean 'lora'"),
    ],
)
def test_the_blocks_of_a_recipe_are_checked(command: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe("testbed", command, **options)


@pytest.mark.parametrize("command", ["build-dataset", "train"])
def test_no_rows_are_not_the_recipes_own_and_columns_are_no_row(command: str) -> None:
    option = "source" if command == "build-dataset" else "dataset"
    with pytest.raises(InputError, match=f"{option} is empty"):
        recipe("testbed", command, **{option: []})
    with pytest.raises(InputError, match="dataset is empty"):
        mmpref.inspect([])
    with pytest.raises(UsageError, match=f"{option} is a mapping"):
        recipe("testbed", command, **{option: {"image": ["a.png"], "question": ["?"], "answer": ["!"]}})


def test_numbers_of_numpy_are_numbers() -> None:
    given = {"limit": np.int64(3), "rho_th": np.float32(0.5)}
    assert build_recipe(**given) == build_recipe(limit=3, rho_th=0.5)
    assert train_recipe(limit=np.int64(3)) == train_recipe(limit=3)
    with pytest.raises(UsageError, match=r"limit is 3\.0; it must be a whole number"):
        build_recipe(limit=np.float64(3))


def test_a_message_does_not_show_all_rows() -> None:
    with pytest.raises(UsageError) as raised:
        build_recipe(limit=list(range(1000)))
    assert len(str(raised.value)) < 300


def test_what_only_the_work_needs_has_one_default() -> None:
    for public, inner in ((mmpref.build_dataset, run_build), (mmpref.evaluate, run_evaluate)):
        defaults = inspect.signature(public).parameters
        for name, parameter in inspect.signature(inner).parameters.items():
            if name in defaults and name != "recipe":
                assert defaults[name].default == parameter.default, name


def test_a_recipe_may_leave_open_what_is_given_later() -> None:
    open_: Any = recipe("paper", "train", trainer={"max_steps": 10})
    assert open_.model == ""
    assert open_.trainer["max_steps"] == 10
    with pytest.raises(UsageError, match="lacks the setting 'model'"):
        train_recipe(recipe=open_)
    assert train_recipe(recipe=open_, model="a/b") == recipe("paper", "train", model="a/b", trainer={"max_steps": 10})
    assert recipe("paper", "build-dataset").source is None  # type: ignore[union-attr]
    assert recipe("plain", "evaluate").benchmarks == ()  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no setting 'modle'"):
        recipe("paper", "train", modle="a/b")


def test_the_function_keeps_its_name_whatever_is_imported() -> None:
    import mmpref.recipes.resolve

    assert inspect.unwrap(mmpref.recipe) is recipe
    assert mmpref.recipe is mmpref.recipe
    assert all(getattr(mmpref, name) is not None for name in mmpref.__all__)
    assert set(mmpref.__all__) <= set(dir(mmpref))


def test_trackers_are_options_of_the_trainer() -> None:
    assert "report_to" not in train_recipe(recipe="testbed", dataset=("pairs",), report_to=()).trainer
    named = train_recipe(recipe="testbed", dataset=("pairs",), report_to=("wandb", "tensorboard"))
    assert list(named.trainer["report_to"]) == ["wandb", "tensorboard"]
