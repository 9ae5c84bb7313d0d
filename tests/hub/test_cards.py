"""Cards: golden files, hostile text, metadata, licences, local bases, merged results.

MMPREF_UPDATE_GOLDEN=1 writes the golden files anew.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData, ModelCard

from mmpref import __version__
from mmpref.align.recipe import TrainRecipe
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import HubError
from mmpref.hub.cards.add_results import add_results, merge_model_card
from mmpref.hub.cards.dataset import dataset_card, write_dataset_card
from mmpref.hub.cards.markdown import fence, marked_pair, text
from mmpref.hub.cards.metadata import check_metadata, licence_fields, refuse_broken, size_category
from mmpref.hub.cards.model import model_card
from mmpref.hub.cards.render import template
from mmpref.hub.cards.reproduce_command import command_of
from mmpref.recipes import resolve
from mmpref.recipes import schema as recipes
from mmpref.run.results import Results
from tests.hub.runs import COMMIT, HOSTILE, adapter_manifest, dataset_run, evaluation

GOLDEN = Path(__file__).parent / "golden"
LOCAL = {"id": "/home/someone/models/tiny-vlm", "revision": None}


def _golden(name: str, content: str) -> None:
    file = GOLDEN / name
    # Sizes depend on the versions of the libraries that encode images and Parquet.
    content = re.sub(r"((num_bytes|download_size|dataset_size):) \d+", r"\1 0", content)
    content = content.replace(f"With mmpref {__version__}", "With mmpref VERSION")
    if os.environ.get("MMPREF_UPDATE_GOLDEN") == "1":
        file.write_text(content, encoding="utf-8")
    assert content == file.read_text(encoding="utf-8"), f"{name} differs; MMPREF_UPDATE_GOLDEN=1 rewrites it"


def _metadata(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_dataset_card_golden_and_loads(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    write_dataset_card(tmp_path / "run", manifest)
    content = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    _golden("dataset_card.md", content)
    loaded = DatasetCard.load(tmp_path / "run" / "README.md")
    assert loaded.data.license == "cc-by-4.0"
    assert loaded.data.task_categories == ["image-text-to-text"]
    assert check_metadata(content, "dataset") == []


def test_model_card_golden_and_loads(tmp_path: Path) -> None:
    content = model_card(adapter_manifest(), Results.from_dict(evaluation()))
    (tmp_path / "README.md").write_text(content, encoding="utf-8")
    _golden("model_card.md", content)
    loaded = ModelCard.load(tmp_path / "README.md")
    assert loaded.data.library_name == "peft"
    assert {result.metric_value for result in loaded.data.eval_results} == {0.891, 0.5}
    assert check_metadata(content, "model") == []


def test_a_run_directory_with_its_card_loads_without_mmpref(tmp_path: Path) -> None:
    import datasets

    manifest = dataset_run(tmp_path / "run")
    write_dataset_card(tmp_path / "run", manifest)
    rows = datasets.load_dataset(str(tmp_path / "run"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 3
    assert rows[0]["id"] == HOSTILE
    assert rows[1]["images"][1].size == (4, 3)


def test_untrusted_text_cannot_build_markup() -> None:
    shown = text(HOSTILE)
    assert not re.search(r"<(?!br>)|[\[\]!`|{}$@*]|\n|https?:|www\.|\u202e|\x00", shown)
    assert text("plain words, 1.5 % (two)") == "plain words, 1.5 % (two)"
    assert text("图里有什么？") == "图里有什么？"
    assert fence("a ``` b", "bash").startswith("````bash\n")


def test_front_matter_and_markers_survive_hostile_rows(tmp_path: Path) -> None:
    content = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run"))
    assert _metadata(content)["license"] == "cc-by-4.0"
    assert content.count("<!-- mmpref:end -->") == 1
    assert "<script" not in content
    assert "](http" not in content.replace("](https://arxiv.org/", "")
    assert content.count("\n---\n") == 1


def test_the_differing_span_is_marked() -> None:
    assert marked_pair("a red cat sits", "a blue cat sits", 100) == ("a <u>red</u> cat sits", "a <b>blue</b> cat sits")
    assert marked_pair("一只猫。", "一只狗。", 100) == ("一只<u>猫</u>。", "一只<b>狗</b>。")
    assert "<b>狗</b>" in marked_pair("猫" * 3000 + "猫", "猫" * 3000 + "狗", 100)[1]
    same = "It is a long story. " * 300
    chosen, rejected = marked_pair(f"{same}A cat.", f"{same}A bird.", 200)
    assert "<u>cat</u>" in chosen
    assert rejected.endswith("A <b>bird</b>.")
    assert len(rejected) < 250


def given_back(manifest: dict[str, Any], cls: type[Any]) -> dict[str, Any]:
    """The recipe that the command line of a card resolves to."""
    words = shlex.split(command_of(manifest).replace("\\\n", " "))
    assert words[:2] == ["mmpref", manifest["command"]]
    given, assignments, recipe = {}, [], None
    for option, value in zip(words[2::2], words[3::2], strict=True):
        key = option.removeprefix("--").replace("-", "_")
        if key == "set":
            assignments.append(value)
        elif key == "recipe":
            recipe = value
        else:
            several = key in ("image_root", "dataset")
            given[key] = int(value) if key in ("limit", "seed") else (value,) if several else value
    resolved = resolve.resolve(cls, manifest["command"], recipe, given, resolve.parse_set(assignments))
    return recipes.as_plain(resolved)


def test_the_command_gives_the_recipe_back(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    got = given_back(manifest, BuildRecipe)
    wanted = resolve.merge(manifest["recipe"], {"revision": COMMIT, "source_revision": COMMIT})
    wanted["image_root"] = ["/path/to/images"]
    wanted["builder"] = {key: value for key, value in wanted["builder"].items() if value is not None}
    assert {key: got["builder"][key] for key in wanted["builder"]} == wanted["builder"]
    assert {key: value for key, value in got.items() if key in wanted and key != "builder"} == {
        key: value for key, value in wanted.items() if key != "builder"
    }


def test_the_command_of_a_training_takes_no_defaults_of_another_recipe() -> None:
    """Settings that the run left to TRL stay so: the paper's recipe, which --model brings, would set them."""
    recipe = recipes.as_plain(TrainRecipe("me/vlm", ("me/pairs",), trainer={"learning_rate": 3e-4}))
    got = given_back({"command": "train", "recipe": recipe}, TrainRecipe)
    assert got == recipe


def test_the_command_names_the_commit_of_the_embedder(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run") | {"embedders": [{"id": "me/embedder", "revision": COMMIT}]}
    for said in ("me/embedder", "me/embedder@main"):
        manifest["recipe"]["builder"]["similarity_model"] = said
        assert given_back(manifest, BuildRecipe)["builder"]["similarity_model"] == f"me/embedder@{COMMIT}"
    loss = {"bdhs": {"similarity_model": "me/embedder", "iterations": 3}}
    recipe = recipes.as_plain(TrainRecipe("me/vlm", ("me/pairs",), method="online-bdhs", loss=loss))
    got = given_back({"command": "train", "recipe": recipe, "embedders": manifest["embedders"]}, TrainRecipe)
    assert got["loss"]["bdhs"] == {"similarity_model": f"me/embedder@{COMMIT}", "iterations": 3}


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
    assert _metadata(content)["license"] == "unknown"
    assert "does not say which" in content
    assert "/home/someone" not in content


@pytest.mark.parametrize("model", [LOCAL, {"id": "pkg:mmpref.testbed/model", "revision": None}])
def test_a_local_base_is_no_base_model(model: dict[str, Any]) -> None:
    manifest = adapter_manifest(model=model)
    manifest["recipe"]["model"] = model["id"]
    content = model_card(manifest)
    assert "base_model" not in _metadata(content)
    assert "metadata names none" in content
    assert "/home/" not in content
    named = model_card(manifest, base_hub_id="me/tiny-vlm")
    assert _metadata(named)["base_model"] == "me/tiny-vlm"
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
    assert _metadata(model_card(adapter_manifest()))["base_model_relation"] == "adapter"
    assert _metadata(model_card(adapter_manifest(), merged=True))["base_model_relation"] == "finetune"
    manifest = adapter_manifest(model=LOCAL)
    manifest["recipe"]["model"] = LOCAL["id"]
    assert "base_model_relation" not in _metadata(model_card(manifest))


def test_the_language_of_the_training_data_is_the_adapters() -> None:
    assert "language" not in _metadata(model_card(adapter_manifest()))
    assert "language" not in _metadata(model_card(adapter_manifest(languages=[])))
    assert _metadata(model_card(adapter_manifest(languages=["en"])))["language"] == ["en"]


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
    assert ("synthetic" in _metadata(card)["tags"]) == synthetic


def test_only_hub_datasets_are_named_in_the_metadata() -> None:
    content = model_card(adapter_manifest())
    assert _metadata(content)["datasets"] == ["me/bdhs-5k"]
    assert "/path/to/more.jsonl" in content
    assert "/home/" not in content


def test_results_are_merged_and_foreign_things_kept() -> None:
    theirs = {
        "task": {"type": "text-generation"},
        "dataset": {"name": "X", "type": "x/y", "split": "test"},
        "metrics": [{"type": "accuracy", "value": 0.1}],
    }
    index = yaml.safe_dump({"model-index": [{"name": "mine", "results": [theirs]}]})
    card = f"---\nlicense: mit # by hand\nlanguage: no\n{index}---\n\n# Mine\n\nMy words.\n"
    once = add_results(card, Results.from_dict(evaluation()))
    assert "license: mit # by hand\nlanguage: no\n" in once
    assert "My words." in once
    assert theirs in _metadata(once)["model-index"][0]["results"]
    assert add_results(once, Results.from_dict(evaluation())) == once
    both = add_results(once, Results.from_dict(evaluation("chair")))
    assert "| pope (random), accuracy" in both
    assert "| chair (random), accuracy" in both
    assert both.count("mmpref:results:begin") == 1
    newer = add_results(both, Results.from_dict(evaluation("pope", 0.95)))
    values = [m["value"] for r in _metadata(newer)["model-index"][0]["results"] for m in r["metrics"]]
    assert sorted(values) == sorted([0.1, 0.95, 0.5, 0.891, 0.5])
    assert "0.950 [0.940, 0.960]" in newer
    assert ModelCard(newer).data.eval_results


def test_results_need_a_card_that_can_be_read() -> None:
    with pytest.raises(HubError, match="not valid YAML"):
        add_results("---\na: [\n---\n", Results.from_dict(evaluation()))
    with pytest.raises(HubError, match="model-index"):
        add_results("---\nmodel-index: 3\n---\n", Results.from_dict(evaluation()))


@pytest.mark.parametrize("edited", ["3", "[", '[{"benchmark": 1}]', '[{"base": "x"}]'])
def test_an_edited_data_comment_is_left_out(edited: str) -> None:
    card = add_results("---\nlicense: mit\n---\n# T\n", Results.from_dict(evaluation("chair")))
    damaged = re.sub(r"results:data .*? -->", lambda _: f"results:data {edited} -->", card)
    again = add_results(damaged, Results.from_dict(evaluation()))
    assert "| pope (random), accuracy" in again
    assert "| chair" not in again


def test_hostile_names_in_results_stay_harmless() -> None:
    given = Results.from_dict(evaluation(HOSTILE + " --> <b>"))
    content = add_results("---\nlicense: mit\n---\n# T\n", given)
    assert add_results(content, given) == content
    body = content.split("mmpref:results:data", 1)[1]
    assert "<script" not in body
    assert body.count("-->") == 2


def test_a_republished_card_keeps_the_owners_words_and_the_results_of_the_same_run() -> None:
    ours = model_card(adapter_manifest())
    remote = add_results(ours, Results.from_dict(evaluation())).replace("---\n\n<!--", "---\n\nMy preface.\n\n<!--", 1)
    remote = remote.replace("license: llama2", "license: llama2\nmine: 1")
    merged = merge_model_card(remote, ours)
    assert "My preface." in merged
    assert _metadata(merged)["mine"] == 1
    assert "0.891 [" in merged
    assert "model-index" in _metadata(merged)
    assert merge_model_card(merged, ours) == merged
    retrained = model_card(adapter_manifest(recipe_hash="cd" * 32))
    after = merge_model_card(remote, retrained)
    assert "My preface." in after
    assert "0.891 [" not in after
    assert "model-index" not in _metadata(after)
    assert merge_model_card(None, ours) == ours


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


def test_templates_are_strict_and_huggingface_hub_takes_them() -> None:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    for kind in ("dataset", "model"):
        with pytest.raises(jinja2.UndefinedError):
            environment.from_string(template(kind)).render(card_data="license: mit")
    checkout = Path(__file__).parents[2] / "dataset_cards" / "template.md.j2"
    card = DatasetCard.from_template(DatasetCardData(license="mit"), template_path=str(checkout), rows="3", title="T")
    assert card.data.license == "mit"
    assert "# T" in card.text


def test_the_noise_variant_is_told_as_such(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    assert "under noise" not in dataset_card(tmp_path / "run", manifest)
    manifest["recipe"]["builder"]["noise_steps"] = 500
    assert "under noise (500 of 1000 diffusion steps)" in dataset_card(tmp_path / "run", manifest)


def test_a_card_tells_of_images_that_were_painted_over(tmp_path: Path) -> None:
    own = {"written": ["chosen", "rejected"]}
    for name, facts, told in (("as-they-are", {}, False), ("painted", {"painted": True}, True)):
        card = dataset_card(tmp_path / name, dataset_run(tmp_path / name, **own, **facts))
        assert ("but for a part of each image that the method has painted over" in card) is told
        assert "Beginnings of answers" not in card


def test_rejected_answers_made_from_own_ones_are_told_as_such(tmp_path: Path) -> None:
    own = {"written": ["chosen", "rejected"], "rewritten": True}
    for judge, found in (
        ({}, ""),
        ({"annotator": {"name": "policy"}}, ", and the annotator <code>policy</code> found no fault"),
    ):
        path = tmp_path / ("judged" if judge else "alone")
        card = dataset_card(path, dataset_run(path, **own, **judge))
        assert (
            f"The chosen answers were written by the model <code>llava-hf/llava-v1.6-vicuna-7b-hf</code>{found}" in card
        )
        assert "the method <code>bdhs</code> made the rejected ones from them, with the same model." in card
        assert "told them apart" not in card
        assert "### Pairs resolved per try" in card, "the rejected ones were tried"
        assert "the wrong way round" not in card


def test_methods_that_try_once_tell_nothing_of_tries(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    manifest["recipe"]["builder"] = {"greedy": False, "temperature": 1.0}
    assert "resolved per try" not in dataset_card(tmp_path / "run", manifest)


def test_cards_say_how_tokens_were_drawn(tmp_path: Path) -> None:
    drawn = {"greedy": False, "temperature": 0.7, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.05}
    said = "sampled, temperature 0.7, top p 1, top k 0, repetition penalty 1.05"
    manifest = dataset_run(tmp_path / "run", sampling=drawn)
    assert said in dataset_card(tmp_path / "run", manifest)
    greedy = {"greedy": True, "repetition_penalty": 1.0}
    manifest = dataset_run(tmp_path / "greedy", sampling=greedy)
    card = dataset_card(tmp_path / "greedy", manifest)
    assert "| tokens | greedy, repetition penalty 1 |" in card
    manifest = adapter_manifest(drawn={"rows": 4}, sampling=drawn)
    assert f"Answers were drawn from the policy at every step ({said})" in model_card(manifest)


def test_a_card_says_how_much_of_an_image_a_try_shows(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    assert "that a try shows" not in dataset_card(tmp_path / "run", manifest)
    file = tmp_path / "run" / "report.json"
    curve = [
        {"visible_tokens": 0, "rho_th": 1.0, "resolved": 0.9},
        {"visible_tokens": 30, "rho_th": 0.98975, "resolved": 0.875},
        {"visible_tokens": None, "rho_th": 0.0, "resolved": 0.25},
    ]
    masking = {"rho_th": 0.98975, "visible_tokens": 30.0, "image_tokens": 2928.0}
    choice = {"rows": 64, "within": 0.03, "curve": curve, "chosen": 30}
    file.write_text(json.dumps({**json.loads(file.read_text()), "masking": masking, "rho_auto": choice}))
    content = dataset_card(tmp_path / "run", manifest)
    assert "| image tokens that a try shows | 30 of 2,928 in the mean (rho_th 0.9898) |" in content
    assert "on 64 rows: the most visible tokens within 3 points of the best share." in content
    assert "| 30 | 0.9898 | 87.5% | chosen |" in content
    assert "| all | 0 | 25.0% |  |" in content


def test_the_card_of_a_method_that_was_renamed_describes_it(tmp_path: Path) -> None:
    """A run that was built under the former name keeps it: its rows have it."""
    manifest = dataset_run(tmp_path / "run", method="unrelated-text", model=None)
    card = dataset_card(tmp_path / "run", manifest)
    assert "the method <code>unrelated-text</code>" in card
    assert "Control: the reference answer of another row" in card
    assert "there to compare with, not to make a model better" in card
