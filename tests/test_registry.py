"""Names of entries: a renamed one keeps its former names, in plugins too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpref import registry
from mmpref.api.options import build_recipe, train_recipe
from mmpref.api.options import recipe as recipe_of
from mmpref.data.builder import BUILDERS
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import UsageError
from mmpref.recipes.schema import fingerprint

FORMER, NAME = "unrelated-text", "mismatched"


@pytest.fixture(autouse=True)
def _told_anew() -> None:
    registry._warn_of_former_name.cache_clear()


def test_a_former_name_means_the_entry_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert BUILDERS.get(FORMER) is BUILDERS.get(NAME)
        assert BUILDERS.summary(FORMER) == BUILDERS.summary(NAME)
    told = "Warning: the dataset method 'unrelated-text' is called 'mismatched' now."
    assert [record.getMessage() for record in caplog.records] == [told]
    assert FORMER not in BUILDERS.names()
    with pytest.raises(UsageError, match="no dataset method 'unrelated'"):
        BUILDERS.get("unrelated")


@pytest.mark.parametrize("name", [FORMER, NAME])
def test_a_recipe_has_the_present_name_however_it_was_given(name: str, tmp_path: Path) -> None:
    """In a file, under its ``methods``, as an option, with ``--set`` and in Python."""
    plain = BuildRecipe(None, "testbed", NAME, limit=7, block_size=5)
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"build-dataset: {{source: testbed, method: {name}, block_size: 5, methods: {{{FORMER}: {{limit: 7}}}}}}"
    )
    options: list[dict[str, Any]] = [
        {"recipe": str(file)},
        {"recipe": str(file), "method": name},
        {"recipe": str(file), "set": {"method": name}},
        {"recipe": BuildRecipe("m", "testbed", name, limit=7, block_size=5)},
    ]
    for given in options:
        made = build_recipe(**given)
        assert (made.method, made.limit, made.block_size) == (NAME, 7, 5)
    assert fingerprint(BuildRecipe(None, "testbed", name, limit=7, block_size=5)) == fingerprint(plain)
    assert recipe_of("testbed", "build-dataset", method=name).method == NAME


def test_a_plugins_entries_may_be_renamed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package = tmp_path / "renaming_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("FORMER_NAMES = {'old-dpo': 'new-dpo', 'dpo': 'new-dpo'}\n")
    method = "from mmpref.align.methods.dpo import METHOD\n"
    (package / "new_dpo.py").write_text(f'"""A plugin\'s."""\n{method}')
    info = tmp_path / "renaming_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: renaming-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mmpref.methods]\nrenaming = renaming_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    for found in (registry._modules, registry._former_names):
        monkeypatch.setattr(registry, found.__name__, found.__wrapped__)
    assert train_recipe(recipe="testbed", method="old-dpo").method == "new-dpo"
    assert "is called 'new-dpo' now" in caplog.text
    assert train_recipe(recipe="testbed", method="dpo").method == "dpo", "a name that there is means its own entry"


def test_what_is_installed_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It means to read the metadata of every package; a study resolves hundreds of recipes."""
    train_recipe(recipe="testbed", method="dpo")

    def refuse(**_: object) -> None:
        raise AssertionError("the metadata of all packages are read again")

    monkeypatch.setattr(registry, "entry_points", refuse)
    assert train_recipe(recipe="testbed", method="dpo").method == "dpo"


def test_where_nothing_is_known_that_is_said() -> None:
    assert registry.suggest("visible_tokens", []) == "There are none."


@pytest.mark.parametrize(
    ("typed", "meant"), [("bild", ""), ("dop", "dpo"), ("rho", "rho_th"), ("idd", "id"), ("promt", "prompt")]
)
def test_a_short_name_is_not_found_in_any_longer_word(typed: str, meant: str) -> None:
    known = ["id", "dpo", "rho_th", "prompt"]
    assert registry.did_you_mean(typed, known) == (f"Did you mean {meant!r}?" if meant else "")


@pytest.mark.parametrize(("typed", "meant"), [("--lr", "--learning-rate"), ("--epoc", "--epochs"), ("zzz", "")])
def test_what_others_call_a_thing_is_known_before_letters_are_compared(typed: str, meant: str) -> None:
    known = ["--help", "--learning-rate", "--epochs"]
    assert registry.did_you_mean(typed, known) == (f"Did you mean {meant!r}?" if meant else "")
