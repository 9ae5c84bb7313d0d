"""Text of users and data in cards: whichever text of a run is hostile, it stays text."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from mmpref.errors import MmprefError
from mmpref.hub.cards.add_results import add_results
from mmpref.hub.cards.model import model_card
from mmpref.hub.cards.reproduce_command import command_of
from mmpref.recipes.resolve import parse_set
from mmpref.run.results import Results
from tests.hub.card_parts import dataset_card
from tests.hub.runs import HOSTILE, adapter_manifest, dataset_run, evaluation
from tests.markup import Markup

MARKDOWN = MarkdownIt("commonmark").enable("table")  # rich brings it; HTML of a card's own stays HTML
OWN = {"columns": {"prompt": "frage", "answer": "antwort"}, "default_prompt": "What is it?", "where": ["margin >= 1"]}


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all texts in plain values."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts(item, (*path, key))


def put(value: Any, path: tuple[Any, ...], text: str) -> Any:
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = text
    return changed


def assert_is_harmless(card: str) -> None:
    front, body = card.split("---\n", 2)[1:]
    assert isinstance(yaml.safe_load(front), dict)
    assert "Owned" not in yaml.safe_load(front)
    assert len(re.findall(r"<!-- mmpref:(?:[\w-]+:)?end -->", body)) == body.count(":begin")
    prose = re.sub(r"^(`{3,})[^\n]*\n.*?^\1$|<!--.*?-->", "", body, flags=re.S | re.M)
    assert not re.search(r"<script|<img src=x|\]\(javascript|\]\(http://evil|^# Owned|\x00", prose, re.M)
    assert "\u202e" not in body
    page = Markup(MARKDOWN.render(body))
    page.assert_runs_nothing()
    assert not [address for address in page.addresses() if "evil.example" in address]


def _adapter_texts() -> list[tuple[Any, ...]]:
    manifest = adapter_manifest()
    manifest["recipe"] |= OWN
    return [path for path in texts(manifest) if path[0] not in ("command", "recipe_hash") and path[-1] != "method"]


@pytest.mark.parametrize("path", _adapter_texts(), ids=str)
def test_no_text_of_a_training_breaks_its_card(path: tuple[Any, ...]) -> None:
    manifest = adapter_manifest()
    manifest["recipe"] |= OWN
    try:
        card = model_card(put(manifest, path, HOSTILE))
    except MmprefError:
        return
    assert_is_harmless(card)


def test_no_text_of_a_build_breaks_its_card(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    manifest["recipe"] |= OWN
    cards = 0
    for path in texts(manifest):
        if path[0] in ("command", "data", "recipe_hash") or path[-1] in ("method", "split"):
            continue
        try:
            card = dataset_card(tmp_path / "run", put(manifest, path, HOSTILE))
        except MmprefError:
            continue
        cards += 1
        try:
            assert_is_harmless(card)
        except AssertionError as error:
            raise AssertionError(f"{path}: {error}") from error
    assert cards > 10


def test_no_text_of_results_breaks_their_table() -> None:
    results = evaluation()
    cards = 0
    for path in texts(results):
        try:
            given = Results.from_dict(put(results, path, HOSTILE))
            card = add_results("---\nlicense: mit\n---\n# T\n", given)
        except (MmprefError, KeyError, ValueError):
            continue
        cards += 1
        assert_is_harmless(card)
    assert cards > 3


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    "text",
    [
        "<!-- mmpref:end -->",
        "a --> b",
        "it's `x` $(x)",
        "a\u202eb",
        "图里有什么？",
        "a\nb",
        "- x",
        "a: b",
        "{{ x }}",
        HOSTILE.replace("\0", ""),
    ],
)
def test_a_hostile_setting_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    manifest["recipe"] |= {"default_prompt": text}
    command = command_of(manifest)
    assert "<!--" not in command
    shown = subprocess.run(
        ["bash", "-c", command.replace("mmpref build-dataset", "printf '%s\\0'", 1)], capture_output=True, check=True
    )
    [setting] = [word for word in shown.stdout.decode().split("\0") if word.startswith("default_prompt=")]
    assert parse_set([setting]) == {"default_prompt": text}
