"""``mmpref list settings`` on the screen and as JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mmpref.cli.main import program
from mmpref.errors import UsageError


def listed(*words: str) -> str:
    return CliRunner().invoke(program, ["list", "settings", *words], catch_exceptions=False).stdout


def test_keys_types_defaults_and_meanings() -> None:
    text = listed("evaluate", "chair")
    assert "model  text, needed\n" in text
    assert 'benchmark.chair.prompt  text, default "Please describe this image in detail."\n    asked of every' in text
    assert max(map(len, text.splitlines())) <= 110
    assert "benchmark." not in listed("evaluate")


def test_the_same_as_json() -> None:
    rows = {row["key"]: row for row in json.loads(listed("build-dataset", "gibberish", "--json"))}
    assert rows["builder.words"]["default"] == "shuffled"
    assert rows["builder.words"]["type"] == "shuffled | random | repeated"
    assert rows["model"]["needed"] is True
    assert "builder.rho_th" not in rows


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["settings"], r"mmpref list settings build-dataset\|train\|evaluate \[NAME\]"),
        (["settings", "evaluate", "pop"], "Did you mean 'pope'"),
        (["methods", "dpo"], "takes no 'dpo'"),
    ],
)
def test_what_cannot_be_listed(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        CliRunner().invoke(program, ["list", *words], catch_exceptions=False)
