"""Metadata of cards: licences, bases, languages, tags; and what the Hub would refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import HubError
from mmpref.hub.cards.metadata import check_metadata, licence_fields, refuse_broken, size_category
from mmpref.hub.cards.model import model_card
from mmpref.run.results import Results
from tests.hub.card_parts import dataset_card, metadata
from tests.hub.runs import COMMIT, adapter_manifest, dataset_run, evaluation

LOCAL = {"id": "/home/someone/models/tiny-vlm", "revision": None}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, {"license": "unknown"}),
        ("license", {"license": "unknown"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("unknown", {"license": "unknown"}),
        ("other", {"license": "other", "license_name": "license-of-the-source", "license_link": "https://x.y"}),
        ("My Own Licence!", {"license": "other", "license_name": "my-own-licence", "license_link": "https://x.y"}),
    ],
)
def test_licences(given: str | None, wanted: dict[str, str]) -> None:
    assert licence_fields(given, "https://x.y") == wanted


def test_an_unknown_licence_is_said(tmp_path: Path) -> None:
    source = {
        "id": "/home/someone/sft.jsonl",
        "split": "train",
        "revision": None,
        "fingerprint": "sha256:1",
        "licence": None,
    }
    content = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run", source=source))
    assert metadata(content)["license"] == "unknown"
    assert "does not say which" in content
    assert "/home/someone" not in content


@pytest.mark.parametrize("model", [LOCAL, {"id": "pkg:mmpref.testbed/model", "revision": None}])
def test_a_local_base_is_no_base_model(model: dict[str, Any]) -> None:
    manifest = adapter_manifest(model=model)
    manifest["recipe"]["model"] = model["id"]
    content = model_card(manifest)
    assert "base_model" not in metadata(content)
    assert "metadata names none" in content
    assert "/home/" not in content
    named = model_card(manifest, base_hub_id="me/tiny-vlm")
    assert metadata(named)["base_model"] == "me/tiny-vlm"
    assert '"me/tiny-vlm"' in named
    assert model["id"] not in named


def test_what_is_compared_of_a_base_is_said_as_it_is() -> None:
    """By its commit, by the weights of its folder, or not at all."""
    assert "revision than the one above" in model_card(adapter_manifest())
    for facts, said in (
        ({"model_weights": {"model.safetensors": "0" * 64}}, "their SHA-256"),
        ({}, "was not recorded"),
    ):
        card = model_card(adapter_manifest(model=LOCAL, **facts))
        assert "**Plain clients do not check the base.**" in card
        assert said in card
        assert "one above" not in card
        assert "compares the revisions" not in card
        assert ("| base revision | <code>not recorded</code> |" in card) == (not facts)


def test_what_a_model_is_to_its_base_is_said_where_the_base_is_named() -> None:
    assert metadata(model_card(adapter_manifest()))["base_model_relation"] == "adapter"
    assert metadata(model_card(adapter_manifest(), merged=True))["base_model_relation"] == "finetune"
    manifest = adapter_manifest(model=LOCAL)
    manifest["recipe"]["model"] = LOCAL["id"]
    assert "base_model_relation" not in metadata(model_card(manifest))


def test_the_language_of_the_training_data_is_the_adapters() -> None:
    assert "language" not in metadata(model_card(adapter_manifest()))
    assert "language" not in metadata(model_card(adapter_manifest(languages=[])))
    assert metadata(model_card(adapter_manifest(languages=["en"])))["language"] == ["en"]


@pytest.mark.parametrize(
    ("changes", "synthetic"),
    [
        ({}, True),
        ({"written": ["chosen", "rejected"]}, True),
        ({"model": None, "annotator": {"name": "judge"}, "written": ["rejected"]}, True),
        ({"model": None, "written": ["rejected"]}, False),  # moved from another row: no model wrote it
        ({"model": None, "written": [], "methods": ("mix", "povid", "mismatched")}, False),
        ({"model": None, "written": [], "methods": ("mix", "povid", "masking")}, True),  # written before, not here
    ],
)
def test_answers_that_a_model_wrote_are_tagged_as_synthetic(
    tmp_path: Path, changes: dict[str, Any], synthetic: bool
) -> None:
    card = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run", **changes))
    assert ("synthetic" in metadata(card)["tags"]) == synthetic


def test_only_hub_datasets_are_named_in_the_metadata() -> None:
    content = model_card(adapter_manifest())
    assert metadata(content)["datasets"] == ["me/bdhs-5k"]
    assert "/path/to/more.jsonl" in content
    assert "/home/" not in content
    files = [{"id": f"hf://datasets/me/raw{name}", "revision": COMMIT} for name in ("/a.jsonl", "@main/b/c.jsonl")]
    assert metadata(model_card(adapter_manifest(datasets=files)))["datasets"] == ["me/raw"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("license: cc-by-4.0", "license: license", "'license' is not a licence id"),
        ("license: cc-by-4.0", "license: other", "without a license_name"),
        ("- image-text-to-text", "- image-text-two-text", "task category"),
        ("- n<1K", "- 3", "size category"),
        ("pretty_name: BDHS preference pairs from sft-set\n", "", "pretty_name is missing"),
        ("path: data/train-*", "path: [", "not YAML"),
    ],
)
def test_broken_dataset_metadata_is_found(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    content = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run"))
    assert old in content
    broken = content.replace(old, new, 1)
    assert any(complaint in problem for problem in check_metadata(broken, "dataset"))
    with pytest.raises(HubError, match="broken"):
        refuse_broken(broken, "dataset")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("library_name: peft", "library_name: pefft", "library_name"),
        ("pipeline_tag: image-text-to-text", "pipeline_tag: vlm", "pipeline_tag"),
        ("base_model: llava-hf/llava-v1.6-vicuna-7b-hf", "base_model: /home/me/model", "not a Hub id"),
        ("base_model: llava-hf/llava-v1.6-vicuna-7b-hf", "base_model: pkg:mmpref.testbed/model", "not a Hub id"),
        ("- name: llava-v1.6-vicuna-7b-hf with DPO", "- nom: x", "model-index"),
        ("base_model_relation: adapter", "base_model_relation: child", "base_model_relation 'child'"),
        ("base_model: llava-hf/llava-v1.6-vicuna-7b-hf\n", "", "without a base_model"),
        ("library_name: peft", "library_name: peft\nnew_version: /home/me/model", "not a Hub id"),
    ],
)
def test_broken_model_metadata_is_found(old: str, new: str, complaint: str) -> None:
    content = model_card(adapter_manifest(), Results.from_dict(evaluation()))
    assert old in content
    assert any(complaint in problem for problem in check_metadata(content.replace(old, new, 1), "model"))


def test_a_card_without_metadata_is_broken() -> None:
    assert check_metadata("# Title\n", "model") == ["the card has no metadata"]


@pytest.mark.parametrize(
    ("rows", "name"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**12, "n>1T"), (10**15, "n>1T")]
)
def test_size_categories(rows: int, name: str) -> None:
    assert size_category(rows) == name
