"""Results come into a card that is there, and what is not ours stays."""

from __future__ import annotations

import re

import pytest
import yaml
from huggingface_hub import ModelCard

from mmpref.errors import HubError
from mmpref.hub.cards.add_results import add_results, merge_model_card
from mmpref.hub.cards.model import model_card
from mmpref.run.results import Results
from tests.hub.card_parts import metadata
from tests.hub.runs import HOSTILE, adapter_manifest, evaluation


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
