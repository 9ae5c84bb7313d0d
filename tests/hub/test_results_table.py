"""Results in a card and its metadata: marks of tests, and names that say what was measured on which data."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from mmpref.hub.cards.add_results import add_results
from mmpref.hub.cards.eval_results import published_data
from mmpref.hub.cards.merge import BEGIN, END
from mmpref.hub.cards.model import model_card
from mmpref.hub.cards.model_index import model_index
from mmpref.hub.cards.results_table import Line, lines_of, read_lines, results_block
from mmpref.run.results import Results
from tests.hub.card_parts import metadata
from tests.hub.runs import COMMIT, adapter_manifest, evaluation


def _evaluation(p: float | None) -> Results:
    row = {"benchmark": "gqa", "split": "all", "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    return Results.from_dict(
        {
            "asked": {"gqa": {"benchmark": "gqa", "label": "gqa", "official": True}},
            "results": [{**row, "model": model, "headline": p is not None} for model in ("base", "adapter")],
            "differences": [{**row, "value": 0.1, "p": 0.01, "p_holm": p}],
        }
    )


@pytest.mark.parametrize(
    ("p", "mark"), [(0.2, "n.s."), (0.04, r"\*"), (0.009, r"\*\*"), (0.0001, r"\*\*\*"), (None, "]")]
)
def test_marks(p: float | None, mark: str) -> None:
    lines = lines_of(_evaluation(p))
    block = results_block(lines)
    row = next(line for line in block.splitlines() if line.startswith("| gqa"))
    assert row.split("|")[4].strip().endswith(f" {mark}" if p is not None else mark)
    assert ("Holm" in block) is (p is not None)
    assert read_lines(block) == lines


def test_cards_of_before_are_read_and_promise_no_benchmark() -> None:
    """They name no data: under the benchmark's name stands that nobody recorded which."""
    line = lines_of(_evaluation(None))[0]
    row = {name: value for name, value in vars(line).items() if name not in ("p", "headline", "asked")}
    block = f"{BEGIN}\n<!-- mmpref:results:data {json.dumps([row])} -->\n{END}"
    [old] = read_lines(block)
    assert (old.p, old.headline, old.asked) == (None, False, None)
    assert "On which data gqa was measured, was not recorded." in results_block([old])


def _own(**facts: Any) -> Results:
    """40 of one's own questions, scored by POPE's rule, with a prompt of one's own."""
    data = {"id": "/path/to/mine.jsonl", "split": "train", "revision": None, "fingerprint": "sha256:12ab"}
    asked = {
        "official": False,
        "data": data,
        "questions": 40,
        "images": 20,
        "parts": {"random": {"questions": 15, "images": 12}},
        "changed": {"suffix": " Answer | yes or no.", "limit": 40},
        **facts,
    }
    return Results.from_dict(evaluation(asked=asked))


def test_ones_own_data_are_not_the_benchmark_in_a_card() -> None:
    block = results_block(lines_of(_own())).split("## Results")[1]
    assert "| mine.jsonl, scored like pope (random), accuracy ↑ |" in block
    assert "| pope (" not in block
    facts = next(line for line in block.splitlines() if line.startswith("| mine.jsonl, scored like pope | <code>"))
    for fact in ("mine.jsonl</code>", "| 40 | 20 | – |", "sha256:12ab", "suffix: ", "yes or no", "limit: 40"):
        assert fact in facts
    assert facts.count("|") == 8  # what a setting holds makes no cells
    assert "is not that benchmark" in block


def test_ones_own_data_are_not_the_benchmark_in_the_metadata() -> None:
    [entry] = model_index("mine", _own())[0]["results"]
    data = entry["dataset"]
    assert data["name"] == "mine.jsonl, scored like pope"
    assert data["type"] == "not-pope-mine.jsonl"
    assert "revision" not in data
    assert data["args"] == {
        "data": "mine.jsonl",
        "revision_or_hash": "sha256:12ab",
        "questions": 15,
        "images": 12,
        "scored_like": "pope",
        "changed_settings": {"suffix": " Answer | yes or no.", "limit": 40},
    }
    assert published_data(_own()) == [], "no leaderboard is asked about one's own data"


def test_settings_that_are_no_words_stand_in_the_metadata_as_in_json() -> None:
    [entry] = model_index("mine", _own(changed={"yes_words": "да", "no_words": ["нет", "не"]}))[0]["results"]
    assert entry["dataset"]["args"]["changed_settings"] == {"yes_words": "да", "no_words": '["нет", "не"]'}


def test_published_data_under_another_prompt_do_not_bear_the_benchmarks_name() -> None:
    published = {"id": "lmms-lab/POPE", "split": "test", "revision": COMMIT, "fingerprint": COMMIT}
    results = _own(data=published, changed={"suffix": ""})
    [entry] = model_index("mine", results)[0]["results"]
    assert entry["dataset"]["type"] == "not-pope-lmms-lab-POPE-test"
    assert entry["dataset"]["args"]["revision_or_hash"] == COMMIT
    assert lines_of(results)[0].benchmark == "lmms-lab/POPE:test, scored like pope"


def test_the_published_benchmark_bears_its_name() -> None:
    results = Results.from_dict(evaluation())
    [entry] = model_index("mine", results)[0]["results"]
    assert entry["dataset"] == {"name": "pope", "type": "lmms-lab/POPE", "split": "random", "revision": COMMIT}
    assert lines_of(results)[0].benchmark == "pope"


def test_of_one_rule_both_data_stay_in_one_card() -> None:
    card = add_results("---\nlicense: mit\n---\n# T\n", Results.from_dict(evaluation()))
    both = add_results(card, _own())
    assert "| pope (random), accuracy" in both
    assert "| mine.jsonl, scored like pope (random), accuracy" in both
    assert [entry["dataset"]["type"] for entry in metadata(both)["model-index"][0]["results"]] == [
        "lmms-lab/POPE",
        "not-pope-mine.jsonl",
    ]
    assert add_results(both, _own()) == both


@pytest.mark.parametrize("facts", [{"samples": "sha256:other"}, {"changed": {"limit": 20}}])
def test_old_numbers_do_not_pass_for_those_of_new_data(facts: dict[str, Any]) -> None:
    """The new run has one metric less: what stays of the old run would stand under the new run's data."""
    card = add_results("---\nlicense: mit\n---\n# T\n", _own())
    content = evaluation(asked={**vars(_own().asked["pope"]), **facts})
    content["results"] = [row for row in content["results"] if row["metric"] == "accuracy"]
    assert [line.metric for line in read_lines(add_results(card, Results.from_dict(content)))] == ["accuracy"]
    content["asked"] = {"pope": _own().asked["pope"].as_dict()}
    of_the_same = read_lines(add_results(card, Results.from_dict(content)))
    assert {line.metric for line in of_the_same} == {"accuracy", "yes_ratio"}


def test_what_a_card_of_before_called_a_benchmark_gives_way() -> None:
    line = {**vars(lines_of(Results.from_dict(evaluation()))[0]), "asked": None, "benchmark": "pope"}
    old = results_block([Line(**line)])
    card = add_results(f"---\nlicense: mit\n---\n# T\n\n{old}\n", _own())
    assert "| pope (" not in card
    assert "was not recorded" not in card


def test_data_that_chose_the_step_are_marked() -> None:
    results = _own(chose={"step": 20, "metric": "pope/accuracy"})
    block = results_block(lines_of(results))
    assert "accuracy ↑ † |" in block
    assert "(step 20) was chosen by pope/accuracy: its values there are too good" in block
    [entry] = model_index("mine", results)[0]["results"]
    assert entry["dataset"]["args"]["chose_the_kept_step"] == "pope/accuracy"
    assert read_lines(block) == lines_of(results)


def test_what_intervals_are_over_is_said_and_kept() -> None:
    results = _own(remarks=["pope: 3 of 40 questions repeat an earlier one."])
    few = replace(results, values=tuple(replace(value, images=12, unit="pairs") for value in results.values))
    block = results_block(lines_of(few))
    assert "adapter minus base, paired by image" in block
    assert "scored like pope 12 pairs. Over fewer than 30 (mine.jsonl, scored like pope) an interval is not" in block
    assert "* pope: 3 of 40 questions repeat an earlier one." in block
    assert read_lines(block) == lines_of(few)


@pytest.mark.parametrize(
    ("base", "adapter", "kept"), [(64, 64, ["yes_ratio"]), (0, 64, ["accuracy", "yes_ratio"]), (0, 0, None)]
)
def test_what_measures_the_form_of_answers_is_no_result_on_the_hub(
    base: int, adapter: int, kept: list[str] | None
) -> None:
    """But where it is the adapter that garbles them: that is worse, and stays."""
    content = evaluation()
    for row in content["results"]:
        if row["metric"] == "accuracy":
            row |= {"answers": 64, "parse_failures": base if row["model"] == "base" else adapter}
    content["differences"][0]["is_form"] = base > 0
    index = model_index("me/one", Results.from_dict(content))
    metrics = [metric["type"] for result in index[0]["results"] for metric in result["metrics"]]
    assert metrics == (kept or ["accuracy", "yes_ratio"])


def test_a_card_whose_only_results_are_of_form_has_none_of_them_in_its_metadata() -> None:
    content = evaluation()
    content["results"] = [row | {"answers": 64, "parse_failures": 64} for row in content["results"]]
    content["differences"][0]["is_form"] = True
    card = model_card(adapter_manifest(), Results.from_dict(content))
    assert all(entry["results"] == [] for entry in yaml.safe_load(card.split("---\n")[1])["model-index"])
