"""Errors name what whoever called can change: options, arguments, or keys of a file."""

from __future__ import annotations

import inspect

import pytest

import mmpref
from mmpref.api.wording import in_python, in_recipe, on_command_line, reworded, rewording
from mmpref.errors import UsageError

MODEL = "pkg:mmpref.testbed/model"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: mmpref.evaluate(recipe="testbed", model="https://a.b/v1#c", blind="masked"), 'Use blind="no-image".'),
        (
            lambda: mmpref.build_dataset(recipe="plain", source="testbed", method="corrupt", model=MODEL),
            "Name one with annotator=.",
        ),
        (
            lambda: mmpref.evaluate(recipe="plain", benchmark="chair", model=MODEL),
            'set={"benchmark.chair.synonyms": "PATH"}',
        ),
        (
            lambda: mmpref.recipe("testbed", "train", method="rloo", set={"loss.reward": ""}),
            'set={"loss.reward": "RUN"}',
        ),
    ],
)
def test_in_python_they_are_arguments(call: object, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        call()  # type: ignore[operator]
    assert says in str(raised.value)


def test_values_are_those_of_python() -> None:
    def function(blind: str) -> None:
        hint = "Say --set a.b=false or --set n=4096. `mmpref train --blind x` --other=1."
        raise UsageError("--blind is wrong.", hint)

    with pytest.raises(UsageError) as raised:
        in_python(function)("x")
    assert str(raised.value) == (
        'blind= is wrong. Say set={"a.b": False} or set={"n": 4096}. `mmpref train --blind x` --other=1.'
    )
    assert inspect.unwrap(mmpref.train).__module__ == "mmpref.api.train"


def test_in_a_recipe_they_are_keys() -> None:
    words = in_recipe("train")
    text = "Name it with --annotator, --best=pope/accuracy, --learning-rate or --set trainer.pad_token=TOKEN."
    assert reworded(text, *words) == (
        "Name it with `annotator`, `watch.best: pope/accuracy`, `trainer.learning_rate` or `trainer.pad_token: TOKEN`."
    )
    assert reworded("Choose another --output.", *words) == "Choose another --output."


def test_a_command_without_the_option_has_a_setting() -> None:
    with pytest.raises(UsageError) as raised, rewording(*on_command_line("train", {"annotator"})):
        raise UsageError("No such model.", "Name another with --similarity-model, or an --annotator.")
    assert raised.value.hint == "Name another with --set loss.bdhs.similarity_model, or an --annotator."
