"""Recipes: parsing, checking, merging, hashing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from mmpref.align.recipe import TrainRecipe
from mmpref.api.options import recipe
from mmpref.api.planned import recipe_of_pairs
from mmpref.api.results import run_path
from mmpref.cli.train import command as train_command
from mmpref.data.builder import BUILDERS
from mmpref.errors import InputError, UsageError
from mmpref.judges.reply_cache import cache_folder
from mmpref.recipes import resolve, schema
from mmpref.registry import resolve_path


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    count: int = 1
    maybe: int | None = None
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)
    free: dict[str, Any] = field(default_factory=dict)


def test_nested_values_are_checked_and_typed() -> None:
    built = schema.build(Outer, {"name": "x", "names": ["p", "q"], "inner": {"rate": 1}, "maybe": None})
    assert built == Outer("x", names=("p", "q"), inner=Inner(1.0))
    assert isinstance(built.inner.rate, float)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "lacks the setting 'name'"),
        ({"name": "x", "cuont": 2}, "Did you mean 'count'"),
        ({"name": "x", "count": "two"}, "must be a whole number"),
        ({"name": "x", "count": True}, "must be a whole number"),
        ({"name": "x", "kind": "c"}, "one of a, b"),
        ({"name": "x", "inner": {"rat": 1}}, "Did you mean 'rate'"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        schema.build(Outer, values)


@dataclass(frozen=True)
class Several:
    roots: tuple[str, ...] = ()
    source: tuple[str, ...] | str | None = None
    some: tuple[str, ...] | None = None
    which: tuple[str, ...] | Literal["auto"] = "auto"
    sizes: tuple[int, ...] = ()


def test_one_text_is_a_list_of_one_where_there_may_be_several() -> None:
    one = schema.build(Several, {"roots": "photos", "some": "a"})
    assert one == schema.build(Several, {"roots": ["photos"], "some": ["a"]})
    assert schema.fingerprint(one) == schema.fingerprint(schema.build(Several, {"roots": ["photos"], "some": ["a"]}))
    kept = schema.build(Several, {"source": "rows.json", "which": "auto"})
    assert (kept.source, kept.which) == ("rows.json", "auto"), "a setting that takes a text keeps it, and its hash"
    with pytest.raises(UsageError, match="a list of whole numbers"):
        schema.build(Several, {"sizes": 3})


def test_a_recipe_file_names_one_as_it_names_several(tmp_path: Path) -> None:
    train, evaluate = "train: {{model: m, dataset: {0}, image_root: {0}}}", "evaluate: {{model: m, benchmarks: {1}}}"
    for name, one, which in (("one", "data", "chair"), ("several", "[data]", "[chair]")):
        (tmp_path / f"{name}.yaml").write_text("\n".join((train, evaluate)).format(one, which))
    for command in ("train", "evaluate"):
        made = [recipe(tmp_path / f"{name}.yaml", command) for name in ("one", "several")]
        assert schema.fingerprint(made[0]) == schema.fingerprint(made[1])


def test_a_key_that_is_misspelt_is_named_before_the_one_that_lacks() -> None:
    with pytest.raises(UsageError, match="no setting 'naem'") as told:
        resolve.resolve(Outer, "outer", Outer("x"), {}, {"naem": "x", "name": None})
    assert told.value.hint == "Did you mean 'name'?"


def test_assignments() -> None:
    assert resolve.parse_set(["trainer.learning_rate=5e-6", "a.b=x", "c=true", "d=[1, 2]"]) == {
        "trainer": {"learning_rate": 5e-6},
        "a": {"b": "x"},
        "c": True,
        "d": [1, 2],
    }
    with pytest.raises(UsageError, match="KEY=VALUE"):
        resolve.parse_set(["a"])


NUMBERS: dict[str, object] = {
    "5e-6": 5e-6,
    "1e3": 1e3,
    "5E-6": 5e-6,
    "-1.5e+3": -1.5e3,
    ".5": 0.5,
    "1.0": 1.0,
    ".inf": float("inf"),
    "3": 3,
    "010": 10,
    "1_000": 1000,
    "0x1F": 31,
    "0o17": 15,
    "0b11": 3,
    "1:30": "1:30",
    "1.2.3": "1.2.3",
    "1e": "1e",
    "'5e-6'": "5e-6",
    "2024-01-01": "2024-01-01",
    "nan": "nan",
    "no": False,
    "on": True,
    "null": None,
}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_a_number_is_what_it_is_to_a_reader(text: str, value: object, tmp_path: Path) -> None:
    """In a file, nested in one, and on the command line."""
    (tmp_path / "recipe.yaml").write_text(f"train:\n  value: {text}\n  values: [{text}]\n", encoding="utf-8")
    read = resolve.load(str(tmp_path / "recipe.yaml"))["train"]
    for found in (read["value"], read["values"][0], resolve.parse_set([f"value={text}"])["value"]):
        assert (type(found), found) == (type(value), value)


def test_later_layers_win_key_by_key() -> None:
    first = {"a": {"x": 1, "y": 2}, "b": 1}
    assert resolve.merge(first, {"a": {"y": 3}}, {"b": 2}) == {"a": {"x": 1, "y": 3}, "b": 2}
    assert first == {"a": {"x": 1, "y": 2}, "b": 1}


def test_the_hash_sees_every_value_and_no_order() -> None:
    assert schema.fingerprint(Outer("x", free={"a": 1, "b": 2})) == schema.fingerprint(
        Outer("x", free={"b": 2, "a": 1})
    )
    assert schema.fingerprint(Outer("x")) != schema.fingerprint(Outer("x", inner=Inner(0.6)))


def test_named_recipes_and_files(tmp_path: Any) -> None:
    assert {"testbed", "paper"} <= set(resolve.names())
    (tmp_path / "mine.yaml").write_text("train: {method: dpo}\n")
    assert resolve.load(str(tmp_path / "mine.yaml")) == {"train": {"method": "dpo"}}
    (tmp_path / "broken.yaml").write_text("train: [\n")
    with pytest.raises(InputError, match="not YAML"):
        resolve.load(str(tmp_path / "broken.yaml"))


def test_a_recipe_goes_over_the_one_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text("extends: paper\ntrain: {lora: {r: 8}}\n")
    (tmp_path / "mine.yaml").write_text("extends: below.yaml\ntrain: {method: ipo}\nevaluate:\n")
    paper, mine = resolve.load("paper"), resolve.load(str(tmp_path / "mine.yaml"))
    assert mine["train"] == {**paper["train"], "method": "ipo", "lora": {**paper["train"]["lora"], "r": 8}}
    assert {name: mine[name] for name in ("build-dataset", "evaluate")} == {
        name: paper[name] for name in ("build-dataset", "evaluate")
    }
    (tmp_path / "below.yaml").write_text("extends: testbed\nbuild-dataset: {builder: {visible_tokens: 3}}\n")
    built, testbed = resolve.load(str(tmp_path / "mine.yaml"))["build-dataset"]["builder"], resolve.load("testbed")
    below = {name: value for name, value in testbed["build-dataset"]["builder"].items() if name != "rho_th"}
    assert built == {**below, "visible_tokens": 3}, "as --set does, it replaces the same in another unit"
    (tmp_path / "below.yaml").write_text("extends: mine.yaml\n")
    with pytest.raises(InputError, match="extends itself"):
        resolve.load(str(tmp_path / "mine.yaml"))
    (tmp_path / "mine.yaml").write_text("extends: papers\nrows: {}\n")
    with pytest.raises(UsageError, match=r"mine\.yaml extends 'papers'; there is no such") as caught:
        resolve.load(str(tmp_path / "mine.yaml"))
    assert "paper" in str(caught.value.hint)


def test_a_recipe_of_another_method_leaves_out_what_the_one_below_says_of_its_own(tmp_path: Path) -> None:
    """As an option does: `--recipe testbed --method candidates` is such a recipe."""
    (tmp_path / "mine.yaml").write_text(
        "extends: testbed\nbuild-dataset: {method: candidates, builder: {samples: 3}}\n"
    )
    (tmp_path / "over.yaml").write_text("extends: mine.yaml\nbuild-dataset: {builder: {temperature: 0.7}}\n")
    options = {"method": "candidates", "builder": {"samples": 3, "temperature": 0.7}}
    assert recipe(str(tmp_path / "over.yaml"), "build-dataset") == recipe("testbed", "build-dataset", **options)
    trained = TrainRecipe(model="pkg:mmpref.testbed/model")
    assert recipe_of_pairs(trained, str(tmp_path / "over.yaml")).builder["samples"] == 3
    assert "rho_th" not in recipe_of_pairs(trained, str(tmp_path / "over.yaml")).builder


def test_another_training_method_leaves_out_the_loss_settings_of_the_recipes_own(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "extends: testbed\ntrain: {method: online-dpo, annotator: a/b, loss: {beta: 0.3, temperature: 0.7}}\n"
    )
    (tmp_path / "over.yaml").write_text("extends: own.yaml\ntrain: {method: simpo}\n")
    for name, options in (("own.yaml", {"method": "simpo"}), ("over.yaml", {})):
        made = recipe(str(tmp_path / name), "train", **options)
        assert isinstance(made, TrainRecipe)
        assert (made.method, made.annotator, made.loss) == ("simpo", None, {"beta": 0.3})
    with pytest.raises(UsageError, match="no setting 'temperature'"):
        recipe(str(tmp_path / "own.yaml"), "train", method="simpo", set={"loss.temperature": 0.5})


def test_what_a_training_watches_is_said_by_the_last_recipe(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text("train: {watch: {benchmarks: [pope]}, benchmark: {pope: {suffix: a}}}\n")
    (tmp_path / "over.yaml").write_text("extends: below.yaml\ntrain: {benchmark: {pope: {suffix: b}}}\n")
    made = recipe(str(tmp_path / "over.yaml"), "train")
    assert isinstance(made, TrainRecipe)
    assert made.watch.benchmark["pope"] == {"suffix": "b"}


@pytest.mark.parametrize(("size", "words"), [("13b", "vicuna-13b"), ("34b", "34b")])
def test_the_other_sizes_of_llava_differ_in_the_model_alone(size: str, words: str) -> None:
    large, small = resolve.load(f"llava-1.6-{size}"), resolve.load("llava-1.6-7b")
    assert large == {name: {**values, "model": f"llava-hf/llava-v1.6-{words}-hf"} for name, values in small.items()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"build-dataset: 5\n", "section 'build-dataset' .* is 5; it must be a mapping"),
        (b"train: [a, b]\n", "section 'train'"),
        (b"- train\n", "must hold a mapping"),
        (b"[]\n", "must hold a mapping"),
        (b"biuld-dataset: {}\n", "Did you mean 'build-dataset'"),
        (b"train: {method: \xff\xfe}\n", "not UTF-8 text"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Any, text: bytes, says: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(text)
    with pytest.raises((InputError, UsageError), match=says):
        resolve.load(str(tmp_path / "mine.yaml"))


def test_an_empty_section_is_one_without_settings(tmp_path: Any) -> None:
    (tmp_path / "mine.yaml").write_text("train:\n")
    assert not resolve.load(str(tmp_path / "mine.yaml"))["train"]
    (tmp_path / "empty.yaml").write_text("")
    assert resolve.load(str(tmp_path / "empty.yaml")) == {}


def test_every_command_knows_the_dtypes() -> None:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe

    given: dict[Any, dict[str, Any]] = {
        BuildRecipe: {"model": "m", "source": "s"},
        TrainRecipe: {"model": "m"},
        EvaluateRecipe: {"model": "m", "benchmarks": ["pope"]},
    }
    for cls, values in given.items():
        assert schema.build(cls, {**values, "dtype": "bfloat16"}).dtype == "bfloat16"
        with pytest.raises(UsageError, match="dtype is 'flot32'; it must be one of auto, float32, bfloat16, float16"):
            schema.build(cls, {**values, "dtype": "flot32"})


def test_the_papers_defaults() -> None:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.sampling.bdhs import BdhsSettings

    bdhs = BdhsSettings()
    assert (bdhs.rho_th, bdhs.iterations, bdhs.similarity_threshold, bdhs.guidance) == (0.99, 5, 0.97, True)
    assert bdhs.similarity_model == "sentence-transformers/all-mpnet-base-v2"
    trained = schema.build(TrainRecipe, {**resolve.load("paper")["train"], "model": "m", "dataset": ["d"]})
    assert (trained.lora.r, trained.lora.alpha, trained.projector_learning_rate) == (128, 256, 2e-6)
    assert trained.trainer["learning_rate"] == 1e-6
    batch = trained.trainer["per_device_train_batch_size"] * trained.trainer["gradient_accumulation_steps"]
    assert batch == 32


def test_a_path_of_a_recipe_may_be_in_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell sees what stands in a file. What names no path stays as it is; the hash is that of the whole path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"model": "~/vlm", "dataset": ["~/pairs", "me/pairs"], "image_root": ["~/photos"], "adapter": "~/run"}
    recipe = schema.build(TrainRecipe, {**given, "split": "~/x"})
    assert (recipe.model, recipe.adapter) == (f"{tmp_path}/vlm", f"{tmp_path}/run")
    assert (recipe.dataset, recipe.image_root) == ((f"{tmp_path}/pairs", "me/pairs"), (f"{tmp_path}/photos",))
    assert recipe.split == "~/x"
    whole = json.loads(json.dumps(given).replace("~", str(tmp_path)))
    assert schema.fingerprint(recipe) == schema.fingerprint(schema.build(TrainRecipe, {**whole, "split": "~/x"}))
    settings = schema.build(BUILDERS.get("sentinel").config(), {"synonyms": "~/words.txt", "detectors": ["~/owl", "x"]})
    assert settings.synonyms == f"{tmp_path}/words.txt"
    assert settings.detectors == (f"{tmp_path}/owl", "x")


def test_folders_that_no_shell_sees_may_be_in_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MMPREF_CACHE", "~/replies")
    assert cache_folder() == tmp_path / "replies"
    assert resolve_path("~/vlm") == f"{tmp_path}/vlm"
    assert run_path("train", "dpo", {}, "~/run") == tmp_path / "run"
    (tmp_path / "my.yaml").write_text("train: {seed: 3}\n")
    assert resolve.load("~/my.yaml") == {"train": {"seed": 3}}
    [output] = [option for option in train_command.params if option.name == "output"]
    assert output.type.convert("~/run", output, None) == tmp_path / "run"
