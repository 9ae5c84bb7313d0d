"""Results come into a card that is there, and what is not ours stays."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from mmpref.errors import HubError
from mmpref.hub.cards.add_results import add_results, merge_model_card
from mmpref.hub.cards.model import model_card
from mmpref.hub.cards.model_index import merged_index, model_index
from mmpref.run.results import Results
from tests.hub.card_parts import metadata
from tests.hub.runs import COMMIT, HOSTILE, adapter_manifest, evaluation


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
    assert theirs in metadata(once)["model-index"][0]["results"]
    assert add_results(once, Results.from_dict(evaluation())) == once
    both = add_results(once, Results.from_dict(evaluation("chair")))
    assert "| pope (random), accuracy" in both
    assert "| chair (random), accuracy" in both
    assert both.count("mmpref:results:begin") == 1
    newer = add_results(both, Results.from_dict(evaluation("pope", 0.95)))
    values = [m["value"] for r in metadata(newer)["model-index"][0]["results"] for m in r["metrics"]]
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
    assert metadata(merged)["mine"] == 1
    assert "0.891 [" in merged
    assert "model-index" in metadata(merged)
    assert merge_model_card(merged, ours) == merged
    retrained = model_card(adapter_manifest(recipe_hash="cd" * 32))
    after = merge_model_card(remote, retrained)
    assert "My preface." in after
    assert "0.891 [" not in after
    assert "model-index" not in metadata(after)
    assert merge_model_card(None, ours) == ours


def test_what_the_metadata_know_of_another_run_goes_with_it() -> None:
    """Of base, data, language, licence and emissions; what an owner adds stays, and so does what is of the same run."""
    tracker = {"name": "x", "emissions": {"grams": 3, "version": "3", "country": "DE", "hardware": "cpu"}}
    model = {"id": "me/base", "revision": COMMIT, "licence": "My own"}
    first = model_card(adapter_manifest(languages=["en"], trackers=[tracker], model=model))
    known = {"base_model", "base_model_relation", "datasets", "language", "co2_eq_emissions"}
    named = {"license_name", "license_link"}
    assert known | named <= metadata(first).keys()
    remote = first.replace("\ntags:", "\nmine: 1\ntags:", 1)
    local = {"id": "/home/someone/vlm", "revision": None, "licence": "mit"}
    facts = {"model": local, "datasets": []}
    manifest = adapter_manifest(**facts)
    manifest["recipe"] |= {"model": local["id"]}
    again = metadata(merge_model_card(remote, model_card(manifest)))
    assert known <= again.keys(), "the same run"
    assert again["license"] == "mit"
    assert not named & again.keys(), "of another licence"
    other = metadata(merge_model_card(remote, model_card({**manifest, "recipe_hash": "cd" * 32})))
    assert not (known | named) & other.keys()
    assert other["mine"] == 1
    foreign = "---\nlanguage: fr\nlicense: other\nlicense_name: mine\n---\n# By hand\n"
    kept = metadata(merge_model_card(foreign, model_card(manifest)))
    assert (kept["language"], kept["license"], "license_name" in kept) == ("fr", "mit", False)


def _asked(results: Results, **facts: Any) -> Results:
    asked = {name: replace(of, **facts) for name, of in results.asked.items()}
    return replace(results, asked=asked)


def _of(config: str, value: float) -> Results:
    """Of one configuration of a dataset on the Hub."""
    data = {"id": "me/questions", "revision": "a" * 40, "split": "test", "config": config, "fingerprint": config}
    results = Results.from_dict(evaluation("pope", value))
    return _asked(results, official=False, data=data, samples=f"sha256:{config}", changed={"config": config})


def test_two_configurations_of_one_dataset_both_stay() -> None:
    card = "---\nlicense: mit\n---\n# Mine\n"
    both = add_results(add_results(card, _of("german", 0.81)), _of("french", 0.72))
    for name in ("german", "french"):
        assert f"| me/questions ({name}):test, scored like pope (random), accuracy ↑ |" in both
    entries = metadata(both)["model-index"][0]["results"]
    assert [entry["dataset"]["type"] for entry in entries] == [
        "not-pope-me-questions-german-test",
        "not-pope-me-questions-french-test",
    ]
    newer = add_results(both, _of("german", 0.9))
    assert [m["value"] for e in metadata(newer)["model-index"][0]["results"] for m in e["metrics"]][::2] == [0.72, 0.9]


def test_a_configuration_that_a_card_of_before_did_not_name_gives_way_to_itself() -> None:
    card = add_results("---\nlicense: mit\n---\n# Mine\n", _of("german", 0.81))
    before = card.replace("me/questions (german):test", "me/questions:test").replace("questions-german", "questions")
    assert before != card
    newer = add_results(before, _of("german", 0.9))
    assert len(metadata(newer)["model-index"][0]["results"]) == 1
    assert "0.810" not in newer


def test_what_gives_way_to_other_data_of_its_name_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Files of one name in two folders, whose path stays its owner's."""
    one, two = (
        _asked(
            Results.from_dict(evaluation()),
            official=False,
            data={"id": f"/{folder}/rows.jsonl", "fingerprint": folder},
            samples=f"sha256:{folder}",
        )
        for folder in "ab"
    )
    card = add_results("---\nlicense: mit\n---\n# Mine\n", one)
    add_results(card, one)
    assert not caplog.text
    add_results(card, two)
    assert "the card's results of rows.jsonl, scored like pope were of other questions" in caplog.text


def test_benchmarks_on_the_same_rows_stand_under_their_own_names() -> None:
    """TextVQA with and without OCR tokens."""
    one, two = (Results.from_dict(evaluation(name)) for name in ("textvqa", "textvqa-ocr"))
    data = one.asked["textvqa"].data
    both = replace(one, values=one.values + two.values, asked=one.asked | _asked(two, data=data).asked)
    together = model_index("mine", both)
    apart = merged_index(model_index("mine", one), model_index("mine", _asked(two, data=data)))
    for index in (together, apart):
        assert [(e["dataset"]["name"], e["metrics"][0]["name"]) for e in index[0]["results"]] == [
            ("textvqa", "textvqa accuracy"),
            ("textvqa-ocr", "textvqa-ocr accuracy"),
        ]
