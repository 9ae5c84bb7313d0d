"""A chain of rounds on the Hub: the adapter that it keeps, under one card with all rounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import RunError
from mmpref.hub.cards.chain import write_chain_card
from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.hub.publish_run import publish_run
from mmpref.run.results import Difference, Value
from mmpref.run.rounds import Round, StopRule
from tests.hub.card_parts import metadata
from tests.hub.runs import COMMIT, RECIPE_HASH, adapter_run, dataset_run, evaluation_run, whole_model_run
from tests.hub_fixtures import HubAccount

BASE = "llava-hf/llava-v1.6-vicuna-7b-hf"


def chair(number: float) -> Value:
    names = {"model": "adapter", "benchmark": "chair", "part": "all", "metric": "chair_i"}
    return Value(**names, value=number, low=number - 0.02, high=number + 0.02, higher_is_better=False)  # type: ignore[arg-type]


def chain_run(path: Path, kept: int = 1) -> dict[str, Any]:
    """Write a finished chain of two rounds; its manifest."""
    for number in (1, 2):
        folder = path / f"round-{number}"
        write_dataset_card(folder / "build-dataset", dataset_run(folder / "build-dataset"))
        adapter_run(folder / "train", BASE, COMMIT)
    (path / "round-1/train/adapter_model.safetensors").write_bytes(b"\x01first")
    evaluation_run(path / "test-of-round-1", {"id": str(path / "round-1/train"), "revision": None})
    change = Difference(benchmark="chair", part="all", metric="chair_i", value=-0.05, low=-0.08, high=-0.02)
    rounds = [
        Round(1, 5000, 40, chair(0.15), 0, change, 0.034, "kept" if kept else "no better"),
        Round(2, 4990, 40, chair(0.16), 1, None, 0.061, "no better"),
    ]
    asked = {"benchmark": "chair", "label": "chair", "data": {"id": str(path / "shown.jsonl"), "split": "dev"}}
    manifest = {
        "command": "iterate",
        "recipe": {"build": {"method": "bdhs"}},
        "recipe_hash": RECIPE_HASH,
        "metric": "chair/chair_i",
        "rule": StopRule().text,
        "base": chair(0.2).as_dict(),
        "rounds": [one.as_dict() for one in rounds],
        "kept": kept,
        "stopped": "round 2 was no better",
        "chosen_on": asked,
        "reported_on": {
            "pope": {"benchmark": "pope", "label": "pope", "data": {"id": "lmms-lab/POPE", "split": "test"}}
        },
    }
    (path / "run.json").write_text(json.dumps(manifest))
    write_chain_card(path, manifest)
    return manifest


def test_the_card_says_what_a_chain_begins_with(tmp_path: Path) -> None:
    manifest = chain_run(tmp_path / "chain")
    begun = {"adapter": {"id": str(tmp_path / "mine/first"), "revision": None}, "value": chair(0.18).as_dict()}
    write_chain_card(tmp_path / "chain", {**manifest, "begun": begun})
    card = (tmp_path / "chain/README.md").read_text()
    lines = [line for line in card.partition("## Rounds")[2].splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:6]]
    assert [(row[0], row[3], row[-1]) for row in rows] == [
        ("base", "0.200", ""),
        ("0", "0.180", ""),
        ("1", "0.150", "not published"),
        ("2", "0.160", "not published"),
    ]
    assert "Round 0 is <code>first</code>, which the chain began with." in card
    assert str(tmp_path) not in card


def test_the_kept_adapter_goes_up_under_one_card_that_links_its_datasets(hub: HubAccount, tmp_path: Path) -> None:
    where = {"token": hub.token, "endpoint": hub.endpoint}
    chain_run(tmp_path / "chain")
    (tmp_path / "chain/README.md").write_text((tmp_path / "chain/README.md").read_text() + "\nOwner's words.\n")
    data = publish_run(tmp_path / "chain/round-1/build-dataset", f"{hub.name}/round-1", **where)
    done = publish_run(tmp_path / "chain", f"{hub.name}/rounds", **where)
    assert done.repo_type == "model"
    assert hub.hub.read("model", f"{hub.name}/rounds", "adapter_model.safetensors") == b"\x01first"
    card = hub.hub.read("model", f"{hub.name}/rounds", "README.md").decode()
    rounds = card.partition("## Rounds")[2].partition("\n## ")[0]
    assert f"[pairs]({data.url})" in rounds
    assert rounds.count("not published") == 1
    assert "| 1 | 5,000 | 40 | 0.150 | -0.050 [-0.080, -0.020] | 0.034 | kept |" in rounds
    assert "The chain ended: round 2 was no better." in rounds
    assert "chosen on <code>shown.jsonl</code>" in rounds
    assert "Owner's words." in card
    assert str(tmp_path) not in card
    assert "model-index" in card, "results of the data that chose nothing"
    assert not publish_run(tmp_path / "chain", f"{hub.name}/rounds", **where).changed


def test_a_merged_model_has_the_adapters_results_as_the_adapters_alone(hub: HubAccount, tmp_path: Path) -> None:
    where: dict[str, Any] = {"token": hub.token, "endpoint": hub.endpoint, "accept_private": True}
    chain_run(tmp_path / "chain")
    (tmp_path / "chain/README.md").write_text((tmp_path / "chain/README.md").read_text() + "\nOwner's words.\n")
    whole_model_run(tmp_path / "merged")
    publish_run(tmp_path / "chain", f"{hub.name}/merged", merged=tmp_path / "merged", **where)
    card = hub.hub.read("model", f"{hub.name}/merged", "README.md").decode()
    assert "Owner's words." in card
    assert "model-index" not in metadata(card)
    assert "not-evaluated" in metadata(card)["tags"]
    assert "mmpref:results:data" not in card
    before, said, after = card.partition("The results below are the adapter's on its base, before it was merged.")
    assert said
    assert "0.891 [0.881, 0.901]" not in before
    assert "0.891 [0.881, 0.901]" in after.partition("## Limits")[0]
    assert not publish_run(tmp_path / "chain", f"{hub.name}/merged", merged=tmp_path / "merged", **where).changed


def test_a_chain_that_keeps_nothing_is_not_published(hub: HubAccount, tmp_path: Path) -> None:
    chain_run(tmp_path / "chain", kept=0)
    assert not (tmp_path / "chain/README.md").exists()
    with pytest.raises(RunError, match="keeps no round"):
        publish_run(tmp_path / "chain", f"{hub.name}/rounds", token=hub.token, endpoint=hub.endpoint)
