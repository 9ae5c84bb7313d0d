"""Merging cards: our keys win, foreign keys come back as they were written, and merging twice is merging once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmpref.errors import HubError, InputError
from mmpref.hub.cards.add_results import add_results, merge_model_card
from mmpref.hub.cards.merge import merge_cards
from mmpref.hub.cards.merge_dataset import merge_dataset_card
from mmpref.hub.cards.metadata import check_metadata, refuse_broken
from mmpref.hub.cards.model import model_card
from mmpref.run.results import Results
from tests.hub.card_parts import dataset_card
from tests.hub.runs import adapter_manifest, dataset_run, evaluation

OURS = "---\nlicense: mit\ntags:\n- dpo\n---\n# Ours\n\n---\nA rule above.\n"


def metadata(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


@pytest.mark.parametrize("remote", [None, "", "# No metadata\n", "---\n---\ntext", "---\nlicense: other\n---\n"])
def test_with_no_foreign_key_ours_stays_as_it_is(remote: str | None) -> None:
    assert merge_cards(remote, OURS) == OURS


def test_foreign_keys_come_back_as_written() -> None:
    remote = (
        "---\ntags: [old]\nconfigs:\n# by hand\n- config_name: default\n  data_files: x\nlanguage: no\n"
        "released: 2024-01-02\nlicense: other\ndataset_info:\n  features: []\n---\nTheirs\n"
    )
    merged = merge_cards(remote, OURS)
    assert merged.startswith("---\nlicense: mit\ntags:\n- dpo\nconfigs:\n# by hand\n- config_name: default\n")
    assert "\nlanguage: no\nreleased: 2024-01-02\ndataset_info:\n  features: []\n---\n# Ours\n" in merged
    assert metadata(merged)["license"] == "mit"
    assert merge_cards(merged, OURS) == merged


@pytest.mark.parametrize(
    "remote", ["---\r\nextra: 1\r\n---\r\nx", "---\n{extra: 1, license: x}\n---\n", "---\nextra: 1\n---"]
)
def test_other_spellings_of_a_block(remote: str) -> None:
    merged = merge_cards(remote, OURS)
    assert metadata(merged) == {"license": "mit", "tags": ["dpo"], "extra": 1}
    assert merged.endswith("# Ours\n\n---\nA rule above.\n")


def test_ours_without_metadata() -> None:
    assert merge_cards("---\nextra: 1\n---\nx", "# Ours\n") == "---\nextra: 1\n---\n# Ours\n"


DEEP = f"---\na: {'[' * (sys.getrecursionlimit() // 2 + 100)}\n---\n"
"""Two calls a bracket; PyYAML's time grows with the square of their number."""


@pytest.mark.parametrize("broken", ["---\na: [1\n---\n", "---\n- a list\n---\n", DEEP])
def test_broken_metadata_is_told_with_its_side(broken: str) -> None:
    with pytest.raises(HubError, match="The card on the Hub has metadata that is not valid YAML"):
        merge_cards(broken, OURS)
    with pytest.raises(InputError, match=r"README.md: the metadata is not valid YAML"):
        merge_cards(None, broken)


@pytest.mark.parametrize(("broken", "reason"), [(DEEP, "nested too deeply"), ("---\na: 2024-13-45\n---\n", "month")])
def test_what_only_python_refuses_is_told_as_yaml_that_is_broken(broken: str, reason: str) -> None:
    """Nesting beyond its stack, and a date that is none."""
    ours = OURS.replace("tags:", "configs: []\ndataset_info: {}\ntags:")
    with pytest.raises(HubError, match=f"The card on the Hub has metadata that is not valid YAML.*{reason}"):
        merge_dataset_card(broken, ours)
    with pytest.raises(HubError, match=f"metadata is not valid YAML.*{reason}"):
        add_results(broken, Results.from_dict(evaluation()))
    [problem] = check_metadata(broken, "model")
    assert f"the metadata is not YAML: {reason}" in problem
    with pytest.raises(HubError, match=reason):
        refuse_broken(broken, "dataset")


def test_an_anchor_across_keys_is_refused_not_lost() -> None:
    with pytest.raises(HubError, match="cannot be merged with ours"):
        merge_cards("---\nlicense: &a mit\nextra: *a\n---\n", OURS)


def test_tags_that_an_owner_adds_stay_as_long_as_the_run_is_the_same(tmp_path: Path) -> None:
    pairs = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run"))
    adapter = model_card(adapter_manifest())
    evaluated = model_card(adapter_manifest(), Results.from_dict(evaluation()))
    for merge, remote, ours in (
        (merge_dataset_card, pairs, pairs),
        (merge_model_card, adapter, adapter),
        (merge_model_card, adapter, evaluated),
    ):
        edited = remote.replace("\ntags:\n", "\ntags:\n- medical\n")
        merged = merge(edited, ours)
        assert sorted(metadata(merged)["tags"]) == sorted([*metadata(ours)["tags"], "medical"])
        assert merge(merged, ours) == merged
        assert metadata(merge(edited, ours.replace("begin run=ab", "begin run=cd")))["tags"] == metadata(ours)["tags"]
