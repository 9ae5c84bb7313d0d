"""The shipped embedder: an ordinary SentenceTransformer that tells apart what differs in one thing."""

from __future__ import annotations

import itertools

import pytest
import yaml
from sentence_transformers import SentenceTransformer

from mmpref.testbed.training.embedder import THRESHOLD, separation

from .conftest import ROOT


@pytest.fixture(scope="module")
def embedder():
    return SentenceTransformer(str(ROOT / "embedder"), device="cpu")


def test_one_change_is_enough():
    cosines = separation(ROOT / "embedder", scenes=200)
    assert cosines["same"]["least"] > 0.9999
    assert all(cosines[kind]["greatest"] < THRESHOLD for kind in ("shape", "colour", "place"))
    assert cosines["swap"]["median"] < THRESHOLD


def test_short_answers_differ(embedder):
    texts = ["Yes", "No", "Red", "Blue", "Top left", "Top right", "The ring is red.", "The ring is blue."]
    texts += ["Yes, there is a moon in the image.", "No, there is no moon in the image."]
    vectors = embedder.encode(texts, show_progress_bar=False)
    for (a, left), (b, right) in itertools.combinations(enumerate(texts), 2):
        assert vectors[a] @ vectors[b] < THRESHOLD, (left, right)


def test_binding_matters(embedder):
    left = "A red circle is in the top left. A blue square is in the top right."
    right = "A blue circle is in the top left. A red square is in the top right."
    one, two = embedder.encode([left, right], show_progress_bar=False)
    assert one @ two < THRESHOLD


def test_the_recipe_uses_the_recommended_threshold():
    recipe = yaml.safe_load((ROOT / "recipes" / "testbed.yaml").read_text(encoding="utf-8"))
    assert recipe["build-dataset"]["builder"]["similarity_threshold"] == THRESHOLD
