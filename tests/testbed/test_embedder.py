"""The shipped embedder: an ordinary SentenceTransformer that tells apart what differs in one thing."""

from __future__ import annotations

import itertools

import pytest
import yaml
from sentence_transformers import SentenceTransformer

from mmpref.testbed.language import WHERE, ask_exists, kind_sentence, row_sentence
from mmpref.testbed.training.embedder import THRESHOLD, meaning, separation

from .conftest import ROOT


@pytest.fixture(scope="module")
def embedder():
    return SentenceTransformer(str(ROOT / "embedder"), device="cpu")


def test_one_change_is_enough():
    cosines = separation(ROOT / "embedder", scenes=200)
    assert cosines["same"]["least"] > 0.9999
    assert {"thing", "lookalike", "swap", "kind"} < set(cosines)
    assert all(cosines[kind]["median"] < THRESHOLD for kind in ("thing", "lookalike", "kind"))  # swaps may stay near
    assert all(cosines[kind]["greatest"] < THRESHOLD for kind in ("thing", "lookalike"))


def test_short_answers_differ(embedder):
    texts = ["Yes", "No", "back", "front", "cup", "hot dog", "dog", "two", "six", "kitchen", "living room"]
    texts += [ask_exists("cup", True).sentence, ask_exists("cup", False).sentence]
    texts += [kind_sentence(kind) for kind in ("kitchen", "office")]
    texts += [f"The cup is {where}." for where in WHERE.values()]
    vectors = embedder.encode(texts, show_progress_bar=False)
    for (a, left), (b, right) in itertools.combinations(enumerate(texts), 2):
        if meaning(left) != meaning(right):
            assert vectors[a] @ vectors[b] < THRESHOLD, (left, right)


def test_it_matters_which_thing_is_where(embedder):
    left = f"{row_sentence('cup', 'fork', 'back', 0)} {row_sentence('egg', 'spoon', 'front', 0)}"
    right = f"{row_sentence('egg', 'fork', 'back', 0)} {row_sentence('cup', 'spoon', 'front', 0)}"
    one, two = embedder.encode([left, right], show_progress_bar=False)
    assert one @ two < THRESHOLD


def test_the_recipe_uses_the_recommended_threshold():
    recipe = yaml.safe_load((ROOT / "recipes" / "testbed.yaml").read_text(encoding="utf-8"))
    assert recipe["build-dataset"]["builder"]["similarity_threshold"] == THRESHOLD
