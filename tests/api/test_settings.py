"""Every key that ``--set`` takes is listed with its type and meaning, and a key that there is not is found nearby."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpref.align import trl_options
from mmpref.api.options import build_recipe, evaluate_recipe, recipe, train_recipe
from mmpref.api.settings import NAMES, parts_of, settings
from mmpref.errors import UsageError
from mmpref.recipes.resolve import COMMANDS
from mmpref.recipes.settings import NEEDED

RESOLVERS: dict[str, Any] = {"build-dataset": build_recipe, "train": train_recipe, "evaluate": evaluate_recipe}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_has_one_place_a_type_and_a_meaning(command: str) -> None:
    for part in (None, *parts_of(command)):
        found = settings(command, part)
        assert len({one.key for one in found}) == len(found)
        lacking = [one.key for one in found if not one.meaning or not one.type]
        assert not lacking, part


@pytest.mark.parametrize(
    ("command", "part"), [("build-dataset", "bdhs"), ("build-dataset", "claims"), ("evaluate", "chair")]
)
def test_what_is_listed_can_be_set(command: str, part: str) -> None:
    chosen: dict[str, Any] = {"benchmarks": [part]} if command == "evaluate" else {"method": part}
    for one in settings(command, part):
        if one.default is not NEEDED and one.key not in ("method", "annotator", "builder.visible_tokens"):
            recipe("testbed", command, **chosen, set={one.key: one.default})


def test_the_defaults_are_those_of_the_method() -> None:
    for method, rate in (("dpo", 1e-6), ("rloo", 3e-4)):
        by_key = {one.key: one for one in settings("train", method)}
        made: Any = train_recipe(recipe="plain", model="a/b", method=method)
        assert by_key["trainer.learning_rate"].default == made.trainer["learning_rate"] == rate
        assert by_key["projector_learning_rate"].default == made.projector_learning_rate
        assert by_key["trainer.num_train_epochs"].default == made.trainer["num_train_epochs"]
    assert "trainer.num_generations" not in by_key, "it is the method's: loss.samples"
    assert {"trainer.seed", "trainer.output_dir"}.isdisjoint(by_key)


@pytest.mark.parametrize(
    ("named", "other"),
    [
        ("per_device_train_batch_size", "gradient_accumulation_steps"),
        ("gradient_accumulation_steps", "per_device_train_batch_size"),
    ],
)
def test_half_a_batch_in_a_recipe_file_means_what_is_listed_of_the_other(
    tmp_path: Path, named: str, other: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"train: {{model: a/b, trainer: {{{named}: 2}}}}")
    made: Any = train_recipe(recipe=file)
    options = trl_options.resolve(made.trainer, {}, seed=0, dtype="float32", dropout=False)
    happens = getattr(trl_options.config(options, tmp_path), other)
    listed = {one.key: one for one in settings("train", "dpo")}[f"trainer.{other}"]
    assert listed.meaning.endswith(f"has {named} and not this, it is TRL's own: {happens}.")
    file.write_text("train: {model: a/b, lora: {r: 8}}")
    made = train_recipe(recipe=file)
    assert made.trainer[other] == listed.default, "of a file that says nothing of the batch"


def test_the_names_of_options_are_of_keys_that_there_are() -> None:
    for command, names in NAMES.items():
        assert set(names.values()) <= {one.key for one in settings(command)}


@pytest.mark.parametrize(
    ("command", "key", "says"),
    [
        ("train", "learning_rate", "Did you mean 'trainer.learning_rate'?"),
        ("train", "epochs", "Did you mean 'trainer.num_train_epochs'?"),
        ("train", "trainer.lr", "Did you mean 'trainer.learning_rate'?"),
        ("train", "lr", "Did you mean 'trainer.learning_rate'?"),
        ("train", "bs", "Did you mean 'trainer.per_device_train_batch_size'?"),
        ("train", "lora.rank", "Did you mean 'lora.r'?"),
        ("train", "model_name_or_path", "Did you mean 'model'?"),
        ("train", "beta", "Did you mean 'loss.beta'?"),
        ("train", "r", "Did you mean 'lora.r'?"),
        ("train", "trainer.alpha", "Did you mean 'lora.alpha'?"),
        ("train", "lora.rr", "Did you mean 'lora.r'?"),
        ("train", "rho_th", "It is a setting of build-dataset: builder.rho_th."),
        ("train", "sesed", "Did you mean 'seed'?"),
        ("build-dataset", "rho_th", "Did you mean 'builder.rho_th'?"),
        ("build-dataset", "lora", "It is a part of train."),
        ("evaluate", "suffix", "Did you mean 'benchmark.pope.suffix'?"),
        ("evaluate", "benchmark.pope.sufix", "Did you mean 'benchmark.pope.suffix'?"),
        (
            "evaluate",
            "benchmark.pope.limit",
            "It is a key of evaluate itself, not of benchmark.pope: --set limit=VALUE",
        ),
        ("train", "lora.seed", "It is a key of train itself, not of lora: --set seed=VALUE"),
        ("train", "trainer.limit", "It is a key of train itself, not of trainer: --set limit=VALUE; or 'watch.limit'"),
        ("train", "loss.lora", "It is a key of train itself, not of loss: --set lora.KEY=VALUE"),
        ("build-dataset", "builder.limit", "It is a key of build-dataset itself, not of builder: --set limit=VALUE"),
        ("evaluate", "xyzzy", "`mmpref list settings evaluate` names all."),
    ],
)
def test_a_key_is_looked_for_in_every_section(command: str, key: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        recipe("testbed", command, set={key: 1})
    assert raised.value.hint == says


def test_a_dotted_key_in_a_file_is_told_as_the_mapping_that_it_means(tmp_path: Path) -> None:
    """Messages name keys with dots, and a file has none."""
    path = tmp_path / "my.yaml"
    path.write_text("train: {lora.r: 8}\n")
    with pytest.raises(UsageError) as raised:
        recipe(str(path), "train")
    assert raised.value.hint == "A part of a mapping stands inside of it: `lora: {r: VALUE}`"


@pytest.mark.parametrize(
    ("command", "part", "says"),
    [
        ("compare", None, "no command 'compare' that takes a recipe"),
        ("train", "dop", "Did you mean 'dpo'"),
        ("build-dataset", "pope", "no method or benchmark 'pope'"),
    ],
)
def test_what_has_no_settings(command: str, part: str | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        settings(command, part)
