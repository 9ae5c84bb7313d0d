"""What a recipe says in the wrong shape is told in the words of its file, with an example."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from mmpref.align.recipe import TrainRecipe, WatchSettings
from mmpref.api.chain import IterateSettings
from mmpref.api.options import recipe
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import MmprefError
from mmpref.recipes.in_words import as_written, example_of, expected, is_block
from mmpref.recipes.schema import build, type_hints

SECTIONS = {"build-dataset": BuildRecipe, "train": TrainRecipe, "evaluate": EvaluateRecipe}
NAMED = {"model": "me/vlm", "source": "rows", "benchmarks": ["pope"], "metric": "pope/f1"}

NAMED_FOR = {
    command: {key: value for key, value in NAMED.items() if key in cls.__dataclass_fields__}
    for command, cls in SECTIONS.items()
}


def _fields(cls: type) -> list[Any]:
    return [(field, type_hints(cls)[field.name]) for field in dataclasses.fields(cls)]


def _is_block(hint: Any) -> bool:
    return is_block(hint) or any(map(is_block, getattr(hint, "__args__", ())))


def _refusal(folder: Path, command: str, values: dict[str, Any]) -> str:
    (folder / "mine.yaml").write_text(yaml.safe_dump({command: {**NAMED_FOR[command], **values}}))
    with pytest.raises(MmprefError) as refused:
        recipe(folder / "mine.yaml", command)
    return str(refused.value)


@pytest.mark.parametrize(
    ("command", "key"),
    [(command, field.name) for command, cls in SECTIONS.items() for field, hint in _fields(cls) if _is_block(hint)],
)
def test_a_value_in_the_place_of_a_mapping_is_told_with_an_example_that_is_one(
    tmp_path: Path, command: str, key: str
) -> None:
    for wrong, shown in ((128, "128"), ("r", "'r'"), (["r", 128], "['r', 128]")):
        said = _refusal(tmp_path, command, {key: wrong})
        start, _, example = said.partition(" Example: ")
        assert start == f"{command} recipe.{key} is {shown}; it must be a mapping from keys to values."
        shape = yaml.safe_load(example.strip("`"))
        assert isinstance(shape[key], dict)
    assert build(SECTIONS[command], {**NAMED_FOR[command], **shape}), "the example is what the setting takes"


@pytest.mark.parametrize(
    ("command", "key"),
    [(command, field.name) for command, cls in SECTIONS.items() for field, hint in _fields(cls) if not _is_block(hint)],
)
def test_a_mapping_in_the_place_of_a_value_is_told_without_words_of_python(
    tmp_path: Path, command: str, key: str
) -> None:
    said = _refusal(tmp_path, command, {key: {"a": 1}})
    assert said.startswith(f"{command} recipe.{key} is {{a: 1}}; it must be ")
    assert not any(word in said for word in ("of type", "tuple", "dict", "None", "Literal"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"methods": 5}, "methods is 5; it must be a mapping from keys to values."),
        ({"methods": {"dpo": 5}}, "methods.dpo is 5; it must be a mapping from keys to values."),
        ({"methods": {"dpo": {"lora": 5}}}, "methods.dpo.lora is 5; it must be a mapping .* Example: `lora: {r: 128}`"),
        ({"lora": {"r": {"x": 1}}}, "lora.r is {x: 1}; it must be a whole number. Example: `r: 128`"),
        ({"watch": {"benchmark": {"pope": 5}}}, "watch.benchmark.pope is 5; it must be a mapping"),
        ({"lora": None}, "lora is null; it must be a mapping"),
    ],
)
def test_what_lies_deeper_is_told_alike(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"train": {"model": "me/vlm", **values}}))
    with pytest.raises(MmprefError, match=says):
        recipe(tmp_path / "mine.yaml", "train")


def test_a_key_with_nothing_behind_it_is_an_empty_mapping(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("evaluate:\n  model: me/vlm\n  benchmarks: [pope]\n  benchmark:\n    pope:\n")
    made: Any = recipe(tmp_path / "mine.yaml", "evaluate")
    assert made.benchmark == {"pope": {}}


def test_every_layer_of_a_recipe_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text("train: {model: me/vlm, trainer: 5}")
    (tmp_path / "mine.yaml").write_text("extends: below.yaml\ntrain: {trainer: {max_steps: 1}}")
    with pytest.raises(MmprefError, match="trainer is 5; it must be a mapping"):
        recipe(tmp_path / "mine.yaml", "train")


@pytest.mark.parametrize("cls", [IterateSettings, WatchSettings])
def test_examples_are_values_of_their_settings(cls: type) -> None:
    required = {key: value for key, value in NAMED.items() if key in type_hints(cls)}
    for field, hint in _fields(cls):
        if example := example_of(field, hint):
            assert build(cls, required | yaml.safe_load(example))


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int | Literal["auto"], "a whole number or 'auto'"),
        (tuple[str, ...] | str | None, "text or a list of texts"),
        (bool, "true or false"),
        (dict[str, str] | None, "a mapping from keys to values"),
        (tuple[int, ...], "a list of whole numbers"),
    ],
)
def test_types_in_words(hint: Any, words: str) -> None:
    assert expected(hint) == words


def test_values_are_shown_as_yaml_has_them() -> None:
    value = {"a": [1, None, True], "b": {"c": "yes"}}
    assert as_written(value) == "{a: [1, null, true], b: {c: 'yes'}}"
    assert yaml.safe_load(as_written(value)) == value
    assert len(as_written(["long"] * 10_000)) < 300
