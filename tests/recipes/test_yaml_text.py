"""YAML of recipes, plans and ``--set``: a key that is there twice is refused, as of two values one would be dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.errors import InputError, UsageError
from mmpref.recipes import resolve
from mmpref.recipes.yaml_text import parsed, scalar
from mmpref.study.plan_file import read_file

TWICE = {
    "train: {limit: 5}\nbuild-dataset:\ntrain: {seed: 3}\n": ("train", 3, 1),
    "train:\n  trainer:\n    learning_rate: 1e-6\n    max_steps: 2\n    learning_rate: 5e-5\n": ("learning_rate", 5, 3),
    "train:\n  lora: {r: 8}\n  'lora': {alpha: 16}\n": ("lora", 3, 2),
    "rows: [{a: 1, a: 1}]\n": ("a", 1, 1),
}


@pytest.mark.parametrize(("text", "where"), TWICE.items())
def test_a_key_that_a_file_has_twice_is_refused(text: str, where: tuple[str, int, int], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    key, line, before = where
    says = rf"mine\.yaml has the key '{key}' twice in one mapping, in line {before} and in line {line}"
    with pytest.raises(InputError, match=says):
        resolve.load(str(tmp_path / "mine.yaml"))
    with pytest.raises(InputError, match=says):
        read_file(tmp_path / "mine.yaml")


def test_a_key_that_an_assignment_has_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'\{r: 8, r: 4\}' has the key 'r' twice"):
        resolve.parse_set(["lora={r: 8, r: 4}"])
    assert scalar("{a: 1") == "{a: 1", "what is no YAML is a text"


def test_a_key_over_a_merged_one_is_there_once() -> None:
    text = (
        "shared: {inner: &x {<<: &y {k: 0, m: 1}, k: 1}}\n"
        "one: {<<: *x, m: 2}\n"
        "two: {<<: [*x, *y], k: 3}\n"
        "three: {a: {k: 1}, b: {k: 1}}\n"
    )
    assert parsed(text) == {
        "shared": {"inner": {"k": 1, "m": 1}},
        "one": {"k": 1, "m": 2},
        "two": {"k": 3, "m": 1},
        "three": {"a": {"k": 1}, "b": {"k": 1}},
    }
