"""What an embedder that is not there is told with, and what the one that ships is good for."""

from __future__ import annotations

import pytest

from mmpref.errors import ModelError
from mmpref.sampling.similarity import Similarity


def test_without_a_network_it_is_said_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="Cannot load the similarity model me/nowhere") as told:
        Similarity("me/nowhere")
    assert "--similarity-model" in told.value.hint
    assert "pkg:mmpref.testbed/embedder" in told.value.hint


def test_to_the_shipped_embedder_texts_of_other_words_are_alike() -> None:
    """Which is why it is no more than a try-out beside the testbed."""
    shipped = Similarity("pkg:mmpref.testbed/embedder")
    left = ["The kitchen has a white fridge and a wooden table.", "Una mujer lee un libro."]
    right = ["The kitchen has a black oven and a wooden table.", "Un hombre come una manzana."]
    assert min(shipped(left, right)) > 0.97
