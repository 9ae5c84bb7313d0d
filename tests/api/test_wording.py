"""Errors name what whoever called can change: options, arguments, or keys of a file."""

from __future__ import annotations

import ast
import inspect
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmpref
from mmpref.align.summary import remarks_on
from mmpref.api.results import Evaluation
from mmpref.api.wording import in_python, in_recipe, on_command_line, reworded, rewording
from mmpref.errors import UsageError
from mmpref.run.results import Results

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
        hint = "Say --set a.b=false, --set c=[ROWS], --set d=NUMBER, --set n=4096. `mmpref train --blind x` --other=1."
        raise UsageError("--blind is wrong.", hint)

    with pytest.raises(UsageError) as raised:
        in_python(function)("x")
    assert str(raised.value) == (
        'blind= is wrong. Say set={"a.b": False}, set={"c": [\'ROWS\']}, set={"d": ...}, set={"n": 4096}. '
        "`mmpref train --blind x` --other=1."
    )
    assert inspect.unwrap(mmpref.train).__module__ == "mmpref.api.train"


def test_what_a_run_keeps_is_shown_in_python_in_its_words(tmp_path: Path) -> None:
    remark = "pope: 3 of 4. --set benchmark.pope.suffix=TEXT asks for the form that is read."
    shown = Evaluation(tmp_path, {"remarks": [remark]}, Results({}, ())).remarks()
    assert shown[-1] == 'pope: 3 of 4. set={"benchmark.pope.suffix": "TEXT"} asks for the form that is read.'


def test_notes_are_in_the_same_words(caplog: pytest.LogCaptureFixture) -> None:
    def train(learning_rate: float, epochs: int) -> None:
        remarks_on({}, kl=1e-5)

    def iterate(epochs: int) -> None:
        with rewording(*in_recipe("train")):
            remarks_on({}, kl=1e-5)

    with caplog.at_level(logging.WARNING, "mmpref"):
        in_python(train)(1e-6, 1)
        in_python(iterate)(1)
        remarks_on({}, kl=1e-5)
    said = [message.partition("below 0.001. ")[2] for message in caplog.messages]
    assert said == [
        "A higher learning_rate=... or more epochs=... move it.",
        "A higher `trainer.learning_rate: NUMBER` or more `trainer.num_train_epochs: NUMBER` move it.",
        "A higher --learning-rate=NUMBER or more --epochs=NUMBER move it.",
    ]


def test_a_keyword_that_there_is_not_is_suggested() -> None:
    for function, keyword, meant in (
        (mmpref.build_dataset, "limitt", "limit"),
        (mmpref.train, "lr", "learning_rate"),
        (mmpref.evaluate, "outptu", "output"),
    ):
        with pytest.raises(UsageError, match=rf"{function.__name__} has no argument '{keyword}'. Did you .* '{meant}'"):
            function(**{keyword: 1})
    assert list(inspect.signature(mmpref.compare).parameters) == ["runs", "baseline", "arms", "margin"]


@pytest.mark.parametrize(
    ("typed", "python", "recipe"),
    [
        ("--columns=answer=Caption", 'columns={"answer": "Caption"}', "`columns: {answer: Caption}`"),
        ("--columns='answer=Größe 1'", 'columns={"answer": "Größe 1"}', "`columns: {answer: Größe 1}`"),
        ("--columns, such as", "columns=, such as", "`columns`, such as"),
    ],
)
def test_a_column_and_its_name_are_a_mapping(typed: str, python: str, recipe: str) -> None:
    @in_python
    def function(columns: object = None) -> None:
        raise UsageError(typed)

    with pytest.raises(UsageError) as error:
        function()
    assert error.value.message == python
    assert reworded(typed, *in_recipe("build-dataset")) == recipe


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
    assert raised.value.hint == "Name another with --set loss.bdhs.similarity_model=VALUE, or an --annotator."


KEY = r"(?<![\w./{`])(?:builder|benchmark|loss|lora|trainer|watch)\.[\w{}:.-]*\w"
TYPED = "--set "


def _text(node: ast.expr) -> str:
    """The text of a literal, with what is put into it as ``{}``, and of literals within another expression."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(_text(part) if isinstance(part, ast.Constant) else "{}" for part in parts)
    return " ".join(_text(part) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _messages(file: Path) -> Iterator[tuple[str, str]]:
    """Every text of a module with the pattern of what must be typed there as it is said."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and _is_docstring(node)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in docstrings | parts:
            yield _text(node), rf"{KEY}=[\w{{]"
        if isinstance(node, ast.Call) and (getattr(node.func, "id", "")).endswith("Error"):
            for hint in node.args[1:]:
                yield _text(hint), KEY


def test_a_setting_is_said_with_its_value() -> None:
    """What stands behind ``--set`` can be typed as it is said."""
    package, whole = Path(mmpref.__file__).parent, r"\{\}(?![\w.=])|[\w{}.:-]+=[\w{'\[]"
    said = [
        (str(file.relative_to(package)), text[match.start() :][:60])
        for file in sorted(package.rglob("*.py"))
        for text, _ in _messages(file)
        for match in re.finditer(rf"{TYPED}(?=[\w{{])(?!{whole})", text)
    ]
    assert not said


def test_what_is_to_be_set_is_said_as_it_is_typed() -> None:
    package = Path(mmpref.__file__).parent
    wrong = [
        (str(file.relative_to(package)), text[max(0, match.start() - 20) : match.end() + 20])
        for file in sorted(package.rglob("*.py"))
        for text, pattern in _messages(file)
        for match in re.finditer(pattern, text)
        if not text[: match.start()].endswith(TYPED)
    ]
    assert not wrong
