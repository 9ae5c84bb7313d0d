"""Cards: golden files, hostile text, metadata, licences, local bases, merged results.

MMPREF_UPDATE_GOLDEN=1 writes the golden files anew.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jinja2
import pytest
from huggingface_hub import DatasetCard, DatasetCardData, ModelCard

from mmpref import __version__
from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.hub.cards.markdown import fence, marked_pair, text
from mmpref.hub.cards.metadata import check_metadata
from mmpref.hub.cards.model import model_card
from mmpref.hub.cards.render import template
from mmpref.run.results import Results
from tests.hub.card_parts import dataset_card, metadata
from tests.hub.runs import HOSTILE, adapter_manifest, dataset_run, evaluation

GOLDEN = Path(__file__).parent / "golden"


def _golden(name: str, content: str) -> None:
    file = GOLDEN / name
    # Sizes depend on the versions of the libraries that encode images and Parquet.
    content = re.sub(r"((num_bytes|download_size|dataset_size):) \d+", r"\1 0", content)
    content = content.replace(f"With mmpref {__version__}", "With mmpref VERSION")
    if os.environ.get("MMPREF_UPDATE_GOLDEN") == "1":
        file.write_text(content, encoding="utf-8")
    assert content == file.read_text(encoding="utf-8"), f"{name} differs; MMPREF_UPDATE_GOLDEN=1 rewrites it"


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


def test_a_card_names_the_version_that_made_the_run(tmp_path: Path) -> None:
    """And that which writes it where a run does not say, as those of before."""
    made = {"versions": {"mmpref": "0.0.9"}}
    for number, facts in enumerate((made, {"versions": {}})):
        version = facts["versions"].get("mmpref", __version__)
        folder = tmp_path / str(number)
        for card in (dataset_card(folder, dataset_run(folder, **facts)), model_card(adapter_manifest(**facts))):
            assert f"With mmpref {version} (`pip install mmpref`)" in card


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
    assert metadata(content)["license"] == "cc-by-4.0"
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


@pytest.mark.parametrize(("builder", "advised"), [({"rho_th": 0.99}, True), ({"visible_tokens": 0.46}, False)])
def test_a_card_advises_where_a_try_shows_less_than_one_token(
    builder: dict[str, float], advised: bool, tmp_path: Path
) -> None:
    manifest = dataset_run(tmp_path / "run")
    manifest["recipe"]["builder"] = {"rho_th": None, **builder}
    file = tmp_path / "run" / "report.json"
    masking = {"rho_th": 0.99, "visible_tokens": 0.46, "image_tokens": 46.0}
    file.write_text(json.dumps({**json.loads(file.read_text()), "masking": masking}))
    content = dataset_card(tmp_path / "run", manifest)
    assert "| image tokens that a try shows | 0.46 of 46 in the mean (rho_th 0.99)" in content
    assert ("`--rho-th auto` finds how many this model needs" in content) == advised


def test_the_card_of_a_method_that_was_renamed_describes_it(tmp_path: Path) -> None:
    """A run that was built under the former name keeps it: its rows have it."""
    manifest = dataset_run(tmp_path / "run", method="unrelated-text", model=None)
    card = dataset_card(tmp_path / "run", manifest)
    assert "the method <code>unrelated-text</code>" in card
    assert "Control: the reference answer of another row" in card
    assert "there to compare with, not to make a model better" in card
