"""What a card says first, its limits and its tags follow the results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmpref.hub.cards.add_results import add_results, merge_model_card
from mmpref.hub.cards.merge import put_block, split_card
from mmpref.hub.cards.model import model_card
from mmpref.hub.cards.results_table import lines_of, read_lines, results_block
from mmpref.hub.cards.verdict import TAGS, limits, opening, outcome, verdict_tags, with_verdict
from mmpref.run.results import Results
from tests.hub.runs import adapter_manifest, evaluation

ROOT = Path(__file__).parents[2]


def _results(adapter: float, benchmark: str = "pope", **changes: Any) -> Results:
    content = evaluation(benchmark, adapter, changes.pop("asked", None))
    content["differences"][0] |= changes
    return Results.from_dict(content)


def _first_words(card: str) -> str:
    return re.search(r"<!-- mmpref:verdict:begin -->\n(.*?)\n<!--", card, re.DOTALL)[1]


def _tags(card: str) -> list[str]:
    return yaml.safe_load(card.split("---\n")[1])["tags"]


@pytest.mark.parametrize(
    ("adapter", "changes", "said", "tags"),
    [
        (0.891, {}, "**better** on pope (random), accuracy (+0.027 [", ["better-than-base", "fewer-hallucinations"]),
        (0.8, {}, "**worse** on pope (random), accuracy (-0.064 [", ["worse-than-base", "more-hallucinations"]),
        (0.87, {}, "**no clear change** on pope (random), accuracy (+0.006 [", ["no-clear-change"]),
        (0.891, {"p_holm": 0.2}, "**perhaps better** on pope", ["no-clear-change"]),
        (0.8, {"p_holm": 0.2}, "**perhaps worse** on pope", ["no-clear-change"]),
        (0.891, {"p_holm": 0.01}, "**better** on pope", ["better-than-base", "fewer-hallucinations"]),
        (0.8, {"asked": {"hallucination": False}}, "**worse** on pope", ["worse-than-base"]),
    ],
)
def test_first_words_and_tags_are_made_of_the_results(
    adapter: float, changes: dict[str, Any], said: str, tags: list[str]
) -> None:
    card = model_card(adapter_manifest(), _results(adapter, **changes))
    assert _first_words(card).startswith(f"Against its base: {said}")
    assert [tag for tag in _tags(card) if tag in TAGS] == tags
    assert "says less" not in card


def test_without_results_nothing_is_promised() -> None:
    card = model_card(adapter_manifest())
    assert "not evaluated" in _first_words(card)
    assert "No evaluation of it stands here" in card
    assert "rarer" not in card
    assert "not-evaluated" in _tags(card)


WATCHED = {
    "steps": 2,
    "evaluations": [{"step": step, "pope/accuracy": 0.7, "higher_is_better": True} for step in (0, 2)],
    "watched": {"pope": {"benchmark": "pope", "label": "pope", "data": {"id": "dev.jsonl"}}},
}
HELD_OUT = {"held_out": {"me/pairs:test": {"id": "me/pairs", "revision": None, "rows": 9, "accuracy": 0.8}}}


@pytest.mark.parametrize("measured", [WATCHED, HELD_OUT])
def test_what_a_training_measured_is_not_called_nothing(measured: dict[str, Any]) -> None:
    """Published again, and with results, too."""
    card = model_card(adapter_manifest(**measured))
    again = merge_model_card(card, card)
    for text in (card, again):
        assert "was not evaluated after its training" in _first_words(text)
        assert "not evaluated on this card" not in text
        assert "No evaluation of it" not in text
        assert "not-evaluated" in _tags(text)
    results = add_results(card, _results(0.891))
    assert _first_words(results).startswith("Against its base")
    assert "Only its training measured it" in card
    assert "Only its training measured it" not in results


def test_where_it_is_worse_the_limits_say_so() -> None:
    said = limits(lines_of(_results(0.8)))
    assert "worse than its base on pope (random), accuracy: do not use it for that" in said
    assert "rarer" not in said
    assert "rarer" in limits(lines_of(_results(0.891)))
    assert "cannot tell it from its base" in limits(lines_of(_results(0.87)))


@pytest.mark.parametrize("accuracy", [0.8, 0.87, 0.891])
def test_the_limits_say_that_one_training_is_one_seed(accuracy: float) -> None:
    said = "one training run of one seed"
    assert said in limits(lines_of(_results(accuracy)))
    assert said not in limits([])


def test_a_card_says_what_the_terminal_says() -> None:
    for adapter, p_holm in ((0.891, 0.01), (0.891, 0.2), (0.8, 0.01), (0.8, 0.2), (0.87, 0.01)):
        results = _results(adapter, p_holm=p_holm, higher_is_better=True)
        assert outcome(lines_of(results)[0]) == results.differences[0].verdict


def test_what_is_perhaps_so_is_no_promise() -> None:
    said = limits(lines_of(_results(0.891, p_holm=0.2)))
    assert "cannot tell it from its base on pope" in said
    assert "rarer" not in said


def test_compared_where_no_claim_is_made_is_compared() -> None:
    content = evaluation()
    for row in content["results"]:
        row["headline"] = False
    lines = lines_of(Results.from_dict(content))
    assert "compared with its base, but on no metric that claims are made on" in opening(lines)
    assert "not compared" not in opening(lines)
    assert verdict_tags(lines) == []


def test_a_base_alone_is_compared_with_nothing() -> None:
    content = evaluation()
    content["differences"] = []
    lines = lines_of(Results.from_dict(content))
    assert "not compared with its base" in opening(lines)
    assert verdict_tags(lines) == []


def test_no_claim_is_made_on_a_control_or_on_a_metric_of_no_direction() -> None:
    blind = {"benchmark": "pope", "label": "pope-blind-masked"}
    assert outcome(lines_of(_results(0.8, asked=blind))[0]) is None
    accuracy, yes_ratio = lines_of(_results(0.8))
    assert outcome(accuracy) == "worse"
    assert outcome(yes_ratio) is None


def test_a_published_card_follows_the_results_that_join_it() -> None:
    card = model_card(adapter_manifest())
    better = add_results(card, _results(0.891))
    assert _first_words(better).startswith("Against its base: **better** on pope")
    mixed = add_results(better, _results(0.8, "chair"))
    assert "**better** on pope" in _first_words(mixed)
    assert "**worse** on chair" in _first_words(mixed)
    assert [tag for tag in _tags(mixed) if tag in TAGS] == ["mixed-results", "more-hallucinations"]
    assert add_results(mixed, _results(0.8, "chair")) == mixed
    assert mixed.count("mmpref:limits:begin") == 1


def test_a_republished_adapter_keeps_what_its_results_say() -> None:
    ours = model_card(adapter_manifest())
    remote = add_results(ours, _results(0.8)).replace("- lora\n", "- lora\n- mine\n")
    merged = merge_model_card(remote, ours)
    assert "**worse** on pope" in _first_words(merged)
    assert "worse-than-base" in _tags(merged)
    assert "not-evaluated" not in _tags(merged)
    retrained = merge_model_card(remote, model_card(adapter_manifest(recipe_hash="cd" * 32)))
    assert "not evaluated" in _first_words(retrained)
    assert "not-evaluated" in _tags(retrained)


@pytest.mark.parametrize(
    ("method", "has", "lacks"),
    [
        ("dpo", {"dpo", "preference"}, {"control"}),
        ("online-dpo", {"dpo", "online-dpo", "preference"}, set()),
        ("ipo", {"ipo", "preference"}, {"dpo"}),
        ("rloo", {"rloo", "reinforcement-learning"}, {"dpo", "preference"}),
        ("reward-model", {"reward-model", "preference"}, {"dpo"}),
        ("sft", {"sft", "control"}, {"dpo", "preference"}),
        ("of-a-plugin-that-is-gone", {"of-a-plugin-that-is-gone"}, {"dpo"}),
    ],
)
def test_tags_are_the_methods(method: str, has: set[str], lacks: set[str]) -> None:
    manifest = adapter_manifest(method=method)
    manifest["recipe"]["method"] = method
    tags = set(_tags(model_card(manifest)))
    assert has | {"vlm", "trl", "lora"} <= tags
    assert not lacks & tags


def test_an_adapter_of_control_pairs_says_so() -> None:
    manifest = adapter_manifest()
    manifest["datasets"][0]["methods"] = {"bdhs": 4000, "gibberish": 1000}
    card = model_card(manifest)
    assert "trained on control pairs (<code>gibberish</code>)" in card
    assert "control" in _tags(card)
    assert "| <code>bdhs</code> 4,000, <code>gibberish</code> 1,000 |" in card
    assert "control pairs" not in model_card(adapter_manifest())


def test_what_else_has_changed_is_said_first_too() -> None:
    content = evaluation("chair", 0.87)
    claim = content["differences"][0]
    for metric, low, high, better in (
        ("recall", -0.05, -0.01, True),
        ("words", 0.5, 1.5, None),
        ("mentions", -0.1, 0.1, None),
    ):
        row = {**content["results"][0], "metric": metric, "headline": False, "higher_is_better": better}
        content["results"] += [row, {**row, "model": "adapter"}]
        content["differences"].append({**claim, "metric": metric, "value": (low + high) / 2, "low": low, "high": high})
    said = opening(lines_of(Results.from_dict(content)))
    assert "**no clear change** on chair (random), accuracy" in said
    assert said.splitlines()[1].endswith(" Of chair (random) also recall worse, words higher.")
    for row in content["differences"]:
        row |= {} if row["metric"] == "accuracy" else {"p": 0.125, "p_holm": None}
    lines = lines_of(Results.from_dict(content))
    for of in (lines, read_lines(results_block(lines))):
        assert " Of chair (random) also recall perhaps worse, words perhaps higher." in opening(of)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "model_cards").glob("*/run.json")))
def test_a_recorded_card_says_what_is_made_of_its_results_today(name: str) -> None:
    body = split_card((ROOT / "model_cards" / name / "README.md").read_text(encoding="utf-8"))[1]
    lines = read_lines(body)
    assert body == put_block(with_verdict(body, lines), results_block(lines)), "record it again"


@pytest.mark.parametrize("more", [{}, {"p_holm": 0.2}])
def test_better_on_images_of_its_training_promises_nothing(more: dict[str, Any]) -> None:
    """By the whole card: first words, limits, table, tags, and the Hub's own form of results."""
    card = model_card(adapter_manifest(), _results(0.891, asked={"trained_on": 24}, **more))
    first = _first_words(card)
    assert first.startswith("Whether it is better than its base on images that it was not trained on was not measured.")
    assert "accuracy (+0.027 [+0.012, +0.042]; on images that it was trained on)" in first
    assert "**better**" not in card
    assert not [tag for tag in _tags(card) if tag in TAGS]
    assert "* Its values on pope (random), accuracy are on images that it was trained on" in card
    assert "| pope (random), accuracy ↑ ‡ |" in card
    assert "images_trained_on: 24" in card
    again = merge_model_card(card, card)
    assert (_first_words(again), _tags(again)) == (first, _tags(card))


def test_worse_on_images_of_its_training_is_worse() -> None:
    card = model_card(adapter_manifest(), _results(0.8, asked={"trained_on": 24}))
    assert _first_words(card).startswith("Against its base: **worse** on pope (random), accuracy (-0.064 [")
    assert "; on images that it was trained on)" in _first_words(card)
    assert [tag for tag in _tags(card) if tag in TAGS] == ["worse-than-base", "more-hallucinations"]


def test_better_elsewhere_too_is_better() -> None:
    seen = lines_of(_results(0.891, asked={"trained_on": 24, "official": False}))
    lines = [*lines_of(_results(0.891)), *seen]
    assert verdict_tags(lines) == ["better-than-base", "fewer-hallucinations"]
    said = opening(lines)
    assert "Against its base: **better** on pope (random), accuracy (+0.027 [+0.012, +0.042])." in said
    assert said.count("**better**") == 1
