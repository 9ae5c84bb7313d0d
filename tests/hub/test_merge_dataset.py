"""A dataset whose splits were published one after the other has a card of all of them, and says what its text is of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmpref.hub.cards.merge import of_another_run, split_card
from mmpref.hub.cards.merge_dataset import merge_dataset_card
from mmpref.hub.cards.metadata import check_metadata
from tests.hub.card_parts import dataset_card, metadata
from tests.hub.runs import HOSTILE, dataset_run


def _card(folder: Path, split: str, english: bool = False, rows: int = 3, **changes: Any) -> str:
    """Of a split that a run of its own made."""
    licence = changes.pop("licence", "mit")
    source = {"id": f"me/{split}", "split": split, "revision": None, "fingerprint": "x", "licence": licence}
    facts = {"recipe_hash": f"{len(split):02d}" * 32, "source": source, **changes}
    folder = folder / f"{split}-{len(list(folder.glob('*')))}"
    card = dataset_card(folder, dataset_run(folder, split, **facts))
    card = card.replace("\nconfigs:", "\nlanguage:\n- en\nconfigs:", 1) if english else card
    return card.replace("num_examples: 3", f"num_examples: {rows}")


def _plain(folder: Path) -> tuple[str, str]:
    """An English split of many pairs, and a control of other words."""
    train = _card(folder, "train", english=True, rows=1998)
    control = {"methods": ("reversed",) * 3, "method": "reversed", "model": None, "written": []}
    return train, _card(folder, "validation", licence="cc-by-nc-4.0", **control)


def test_what_the_metadata_say_is_of_all_splits(tmp_path: Path) -> None:
    train, validation = _plain(tmp_path)
    merged = metadata(merge_dataset_card(train, validation))
    assert merged["license"] == ["mit", "cc-by-nc-4.0"]
    assert merged["language"] == ["en"]
    assert merged["size_categories"] == ["1K<n<10K"]
    assert {"bdhs", "hallucination", "synthetic", "reversed", "control"} <= set(merged["tags"])
    assert len(merged["tags"]) == len(set(merged["tags"]))
    names = [metadata(card)["pretty_name"] for card in (train, validation)]
    assert merged["pretty_name"] == " + ".join(names)


def test_the_text_says_which_split_it_is_about(tmp_path: Path) -> None:
    train, validation = _plain(tmp_path)
    merged = merge_dataset_card(train, validation)
    assert "\n# BDHS preference pairs from train + Reversed preference pairs from validation\n" in merged
    assert "**The text below is about <code>validation</code> alone**" in merged
    assert "| <code>train</code> | 1,998 | BDHS preference pairs from train | <code>mit</code> | en |" in merged
    told = "| <code>validation</code> | 3 | Reversed preference pairs from validation | <code>cc-by-nc-4.0</code> | not"
    assert told in merged
    assert "alone" not in merge_dataset_card(None, train).partition("## ")[0]
    assert "alone" not in merge_dataset_card(train, train).partition("## ")[0]
    assert check_metadata(merged, "dataset") == []


def test_publishing_again_changes_nothing_and_the_other_split_in_turn(tmp_path: Path) -> None:
    train, validation = _plain(tmp_path)
    merged = merge_dataset_card(train, validation)
    assert merge_dataset_card(merged, validation) == merged
    back = merge_dataset_card(merged, train)
    assert {**metadata(back), "dataset_info": 0} == {**metadata(merged), "dataset_info": 0}
    assert "**The text below is about <code>train</code> alone**" in back
    assert merge_dataset_card(back, validation) == merged


def test_what_was_said_of_a_split_goes_with_it(tmp_path: Path) -> None:
    """Where another run's takes its place, and its languages, tags and licence were its alone."""
    train, validation = _plain(tmp_path)
    merged = merge_dataset_card(train, validation)
    other = _card(tmp_path, "train", licence="apache-2.0", recipe_hash="ef" * 32)
    after = metadata(merge_dataset_card(merged, other))
    assert after["license"] == ["apache-2.0", "cc-by-nc-4.0"]
    assert "language" not in after
    assert after["size_categories"] == ["n<1K"]
    alone = metadata(merge_dataset_card(train, other))
    assert "language" not in alone
    assert alone["license"] == "apache-2.0"
    assert "language" in metadata(merge_dataset_card(train, train.replace("language:\n- en\n", ""))), "the same run"
    assert "language" not in metadata(
        merge_dataset_card(of_another_run(train), train.replace("language:\n- en\n", ""))
    ), "other data of the same recipe"


def test_licences_that_have_a_name_alone_keep_it(tmp_path: Path) -> None:
    one, two = (_card(tmp_path, split, licence=f"Of {split}") for split in ("train", "test"))
    merged = metadata(merge_dataset_card(one, two))
    assert (merged["license"], merged["license_name"]) == ("other", "of-train-and-of-test")
    mixed = metadata(merge_dataset_card(one, _card(tmp_path, "validation")))
    assert (mixed["license"], mixed["license_name"]) == (["other", "mit"], "of-train")


def test_what_is_said_of_anothers_configuration_stays(tmp_path: Path) -> None:
    front = {
        "configs": [{"config_name": "mine", "data_files": "mine/*"}],
        "language": ["fr"],
        "license": "cc-by-4.0",
        "size_categories": ["1M<n<10M"],
        "tags": ["medical"],
    }
    remote = f"---\n{yaml.safe_dump(front)}---\n# Mine\n"
    ours = _card(tmp_path, "train", english=True)
    merged = merge_dataset_card(remote, ours)
    found = metadata(merged)
    assert found["language"] == ["fr", "en"]
    assert found["license"] == ["cc-by-4.0", "mit"]
    assert found["size_categories"] == ["n<1K", "1M<n<10M"]
    assert "medical" in found["tags"]
    assert found["pretty_name"] == metadata(ours)["pretty_name"]
    assert split_card(merged)[1] == split_card(ours)[1]
    assert merge_dataset_card(merged, ours) == merged


@pytest.mark.parametrize("edited", ["3", "[", '{"train": 1}', '{"train": {"tags": 4, "language": {"a": 1}}}'])
def test_an_edited_comment_does_no_harm(tmp_path: Path, edited: str) -> None:
    train, validation = _plain(tmp_path)
    merged = merge_dataset_card(train, validation)
    damaged = re.sub(r"<!-- mmpref:splits .*? -->", lambda _: f"<!-- mmpref:splits {edited} -->", merged)
    assert damaged != merged
    assert check_metadata(merge_dataset_card(damaged, validation), "dataset") == []


def test_hostile_facts_of_what_is_there_stay_text(tmp_path: Path) -> None:
    front = {
        "configs": [{"config_name": "default", "data_files": [{"split": HOSTILE, "path": "data/x-*"}, 3]}],
        "dataset_info": {"features": [], "splits": [{"name": HOSTILE}, "x"]},
        "pretty_name": HOSTILE,
        "license": {"a": 1},
        "language": False,
        "tags": [HOSTILE, 5],
    }
    merged = merge_dataset_card(f"---\n{yaml.safe_dump(front)}---\n", _card(tmp_path, "train"))
    assert metadata(merged)["language"] == ["no"]
    body = split_card(merged)[1].partition("## How it was made")[0]
    assert "<script" not in body
    assert body.count("-->") == 2
    assert len(re.findall(r"^# ", body, re.MULTILINE)) == 1
