"""Sampled answers are without the reasoning of the model that wrote them, and those that come to no answer are cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import InputError
from mmpref.registry import resolve_path
from mmpref.sampling.answers import answer_of
from mmpref.sampling.bdhs import BdhsSampler
from mmpref.sampling.settings import BdhsSettings
from mmpref.sampling.similarity import load_similarity
from mmpref.types import ModelRef
from mmpref.vlm.detokenize import Detokenizer
from mmpref.vlm.generate import Answer
from mmpref.vlm.load import load_policy
from tests.sampling.test_algorithm import example as example
from tests.vlm.tiny import tiny

TESTBED, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
MARKS = {"additional_special_tokens": ["[THINK]", "[/THINK]"]}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("[THINK]w5[/THINK]w7", Answer("w7", cut=False)),
        ("w5[/THINK]w7", Answer("w7", cut=False)),
        ("w7", Answer("w7", cut=False)),
        ("[THINK]w5", Answer("", cut=True)),
        ("[THINK]w5[/THINK]", Answer("", cut=True)),
    ],
)
def test_reasoning_is_taken_off(words: str, answer: Answer) -> None:
    policy = tiny("llava")
    policy.tokenizer.add_special_tokens(MARKS)
    ids = policy.tokenizer(words, add_special_tokens=False)["input_ids"]
    assert answer_of(Detokenizer(policy), ids, 50) == answer
    assert answer_of(Detokenizer(policy), ids, len(ids)) == Answer(answer.text, cut=True)


def test_so_it_is_in_an_unguided_answer_of_bdhs(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(ModelRef(TESTBED))
    policy.tokenizer.add_special_tokens(MARKS)
    ids = [policy.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("No.", "A cup.")]
    begin, end = policy.tokenizer.convert_tokens_to_ids(MARKS["additional_special_tokens"])
    written = [[begin, *ids[0], end, *ids[1]], [begin, *ids[0]]]

    class Pool:
        has_free_rows = finished = True

        def add(self, branches: Sequence[object]) -> range:
            return range(len(branches))

        def __iter__(self) -> Any:
            yield 0, written.pop(0)

    monkeypatch.setattr("mmpref.sampling.bdhs.decoding_pool", lambda *_: Pool())
    settings = BdhsSettings(iterations=1, guidance=False, similarity_model=EMBEDDER)
    sampler = BdhsSampler(policy, load_similarity(EMBEDDER), settings, seed=0)
    [thought], [endless] = sampler([example]), sampler([example])
    assert (thought.answer, thought.cut_off) == ("A cup.", False)
    assert (endless.answer, endless.cut_off) == ("", True)


@pytest.mark.parametrize("method", ["seva", "candidates"])
def test_where_the_prompt_opens_a_block_that_stays_open_there_is_no_pair(method: str, tmp_path: Path) -> None:
    model = shutil.copytree(resolve_path(TESTBED), tmp_path / "model")
    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + "{% if add_generation_prompt %}<think>\n{% endif %}")
    recipe = BuildRecipe(
        str(model),
        "testbed",
        method,
        limit=4,
        annotator="testbed-oracle" if method == "candidates" else None,
        builder={"similarity_model": EMBEDDER, "max_answer_tokens": 40},
    )
    with pytest.raises(InputError, match=json.dumps({"seva": "cut-off: 4"}.get(method, "one-answer: 4"))[1:-1]):
        build_dataset(recipe, tmp_path / "run")
