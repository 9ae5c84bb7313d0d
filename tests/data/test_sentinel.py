"""SENTINEL: what it pairs, how contexts grow, and who says what an image shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mmpref.data.build import build_dataset
from mmpref.data.builder import BUILDERS, Context
from mmpref.data.recipe import BuildRecipe
from mmpref.data.sources import Source
from mmpref.errors import UsageError
from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.judges import detectors
from mmpref.judges.detectors import open_detector
from mmpref.rng import stream
from mmpref.sampling.resample import Draft, next_sentences
from mmpref.sampling.sentences import split
from mmpref.tables.open import open_table
from mmpref.testbed import language, oracle
from mmpref.types import Example, Skip, context_of
from mmpref.vlm.encode import encode
from mmpref.vlm.policy import Policy

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
SETTINGS: dict[str, Any] = {
    "similarity_model": EMBEDDER,
    "synonyms": "pkg:mmpref.testbed/synonyms.txt",
    "detectors": ["testbed-oracle", "testbed-oracle:0"],
    "samples": 6,
    "temperature": 1.5,
    "coherent": False,  # no caption of the testbed names a thing twice
    "max_sentence_tokens": 24,
    "max_sentences": 4,
}
ROWS = 8


@pytest.fixture(scope="module")
def captions() -> list[Example]:
    [(_, block)] = Source([open_table("testbed")], limit=30).blocks(30, lambda _: True)
    asked = [row for row in block if isinstance(row, Example) and row.prompt[-1].content in language.CAPTION_PROMPTS]
    return asked[:ROWS]


def worker_of(policy: Policy, **settings: Any) -> Any:
    builder = BUILDERS.get("sentinel")
    given = {**SETTINGS, **settings}
    return builder.worker(
        Context(lambda: policy, policy.ref, 0, 0), builder.config()(**{**given, "detectors": tuple(given["detectors"])})
    )


def test_pairs_are_next_sentences_behind_a_clean_context(policy: Policy, captions: list[Example]) -> None:
    worker = worker_of(policy)
    outcomes = worker(captions)
    notes = worker.notes()
    assert notes["objects"] == notes["objects_there"] + notes["objects_hallucinated"]
    made = [pair for outcome in outcomes if isinstance(outcome, tuple) for pair in outcome]
    contexts = {context_of(pair.example.prompt) for pair in made}
    assert "" in contexts
    assert len(contexts) > 2
    for pair in made:
        truth = oracle.scene_of(pair.example.id.partition("#")[0])
        context = context_of(pair.example.prompt)
        chosen, rejected = (oracle.judge(text, truth) for text in (pair.chosen, pair.rejected))
        assert chosen.mentioned
        assert not chosen.hallucinated
        assert rejected.hallucinated
        assert not oracle.judge(context, truth).hallucinated
        assert [len(split(text)) for text in (pair.chosen, pair.rejected)] == [1, 1]
        assert pair.chosen[0].isspace() == pair.rejected[0].isspace() == bool(context)
        assert len(split(context + pair.chosen)) == len(split(context)) + 1
    assert {one.reason for one in outcomes if isinstance(one, Skip)} <= {"one-sided"}
    ids = [pair.example.id for pair in made]
    assert len(set(ids)) == len(ids)
    other = worker_of(policy, batch_size=5)
    assert list(other(captions[4:])) == outcomes[4:], "whatever else is in the block"


def naive(policy: Policy, example: Example) -> list[tuple[str, str, str]]:
    """Context, chosen and rejected: one answer alone, one branch at a time, by what the scene has in it."""
    [prompt] = encode(policy, [policy.prompter(example)])
    settings = BUILDERS.get("sentinel").config()(**{**SETTINGS, "detectors": tuple(SETTINGS["detectors"])})
    there, context, told = set(oracle.scene_of(example.id).names), "", set[str]()
    pairs = []
    for number in range(SETTINGS["max_sentences"]):
        draft = Draft(example, prompt, context)
        [drawn] = next_sentences(policy, [draft], settings.decoding(24, 0), SETTINGS["samples"], width=1)
        true, false, new, known, empty = [], [], [], [], []
        for index, sentence in enumerate(drawn):
            if not sentence or sentence in drawn[:index]:
                continue
            objects = set(oracle.mentions(sentence))
            if objects - there:
                false.append(sentence)
                continue
            if objects:
                true.append(sentence)
            (empty if not objects else known if objects & told else new).append(sentence)
        while true and false:
            pairs.append((context, true.pop(0), false.pop(0)))
        if not (choice := new or known or empty):
            break
        sentence = choice[int(stream(0, example.id, number, "context").integers(len(choice)))]
        told |= set(oracle.mentions(sentence))
        context = (context + sentence).lstrip()
        if sum(one == "" for one in drawn) * 2 > len(drawn):
            break
    return [(context, *((one if context else one.lstrip()) for one in both)) for context, *both in pairs]


def test_pairs_are_those_of_a_plain_loop(policy: Policy, captions: list[Example]) -> None:
    outcomes = worker_of(policy)(captions[:5])
    made = [[] if isinstance(one, Skip) else [*one] for one in outcomes]
    texts = [[(context_of(pair.example.prompt), pair.chosen, pair.rejected) for pair in of_one] for of_one in made]
    assert texts == [naive(policy, example) for example in captions[:5]]
    assert sum(map(len, texts)) > 2


def test_detectors_that_disagree_leave_an_object_uncertain(policy: Policy, captions: list[Example]) -> None:
    worker = worker_of(policy, detectors=["testbed-oracle", "testbed-oracle:1"])
    outcomes = worker(captions[:2])
    assert all(isinstance(one, Skip) and one.reason == "one-sided" for one in outcomes)
    notes = worker.notes()
    assert notes["objects"] == notes["objects_uncertain"] > 0


def test_coherent_pairs_name_what_the_context_has_named(policy: Policy, captions: list[Example]) -> None:
    worker = worker_of(policy, coherent=True)
    from mmpref.data.builders.sentinel import _Growing

    answer = _Growing(
        captions[0], None, "A cup.", verdicts={"cup": "there", "saw": "there", "axe": "hallucinated"}, named={"cup"}
    )  # type: ignore[arg-type]
    said = {" A saw.": {"saw"}, " The cup.": {"cup"}, " An axe.": {"axe"}, " Nothing.": set()}
    worker._keep_pairs(answer, said)
    assert answer.pairs == [("A cup.", " The cup.", " An axe.")]
    worker._append(answer, said, 0)
    assert answer.answer == "A cup. A saw.", "what is new comes first"
    worker._append(answer, {" An axe.": {"axe"}}, 1)
    assert answer.ended


def test_detectors_are_opened_once(policy: Policy, captions: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(detectors, "open_detector", lambda name: opened.append(name) or open_detector(name))
    worker = worker_of(policy, samples=2)
    for example in captions[:2]:
        worker([example])
    assert opened == SETTINGS["detectors"]


def test_impossible_settings_are_refused() -> None:
    for settings, message in (
        ({"synonyms": None}, "needs a table of synonyms"),
        ({"detectors": ("testbed-oracle",)}, "two must agree"),
        ({"max_sentences": 0}, "max_sentences"),
    ):
        with pytest.raises(UsageError, match=message):
            BUILDERS.get("sentinel").config()(**{**SETTINGS, **settings})


def test_a_build_has_a_card_that_tells_of_contexts(tmp_path: Path) -> None:
    recipe = BuildRecipe(MODEL, "testbed", "sentinel", limit=12, builder=SETTINGS)
    manifest = build_dataset(recipe, tmp_path / "run", write_card=write_dataset_card)
    card = (tmp_path / "run/README.md").read_text()
    assert "the prompt ends in the beginning of an answer" in card
    assert re.search(r"Beginnings of answers, in which \d+ of the prompts end, are the model's own\.", card)
    assert "prepare_multimodal_messages" in card
    assert manifest["notes"]["objects"] > 0
    assert manifest["counts"]["rows"] > 2


@pytest.mark.long
def test_most_rows_give_a_pair_and_shards_give_the_same_bytes(tmp_path: Path) -> None:
    recipe = BuildRecipe(MODEL, "testbed", "sentinel", limit=40, block_size=16, builder=SETTINGS)
    assert build_dataset(recipe, tmp_path / "whole")["counts"]["rows"] >= 25
    for index in (1, 0):
        build_dataset(recipe, tmp_path / "split", shard=(index, 2))
    files = [sorted((tmp_path / name / "data").glob("*.parquet")) for name in ("whole", "split")]
    assert files[0]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
