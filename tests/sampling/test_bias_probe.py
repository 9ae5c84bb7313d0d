"""Words of the model's own answers, asked for again with other text and less of the image: against a naive forward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mmpref.data.sources import Source
from mmpref.sampling.bias_probe import Mention, Probed, _other, _words, greedy_answers, probe
from mmpref.sampling.sentences import split
from mmpref.tables.open import open_table
from mmpref.types import Example, ModelRef
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelRef("pkg:mmpref.testbed/model"))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    rows = next(Source(open_table("testbed"), limit=24).blocks(24, lambda _: True))[1]
    usable = [row for row in rows if isinstance(row, Example)]
    return [row for row in usable if len(split(row.answer)) > 1][:5]


@pytest.fixture(scope="module")
def answers(policy: Policy, examples: list[Example]) -> list[str]:
    made = greedy_answers(policy, examples, Decoding(48))
    assert sum(len(split(answer)) > 1 for answer in made) >= 3
    return made


def last_words(answers: list[str]) -> list[list[Mention]]:
    """The last word of each sentence but what an answer is left with behind its last full stop."""
    found: list[list[Mention]] = []
    for answer in answers:
        begin, own = 0, []
        for sentence in split(answer):
            word = sentence.rstrip(" .").split(" ")[-1]
            at = begin + sentence.rindex(word)
            own.append(Mention(at, at + len(word), word))
            begin += len(sentence)
        found.append(own)
    return found


def naive(policy: Policy, example: Example, answer: str, mention: Mention, visible: torch.Tensor) -> float:
    """log p of the mention's tokens, the hidden image tokens masked for every query, in the whole model."""
    inputs = {name: value.clone() for name, value in policy.prompter(example).items()}
    _, begin, written, spans = policy.written_answer(example.prompt, 1, answer)
    left, right = begin + mention.begin, begin + mention.end
    word = [place for place, (first, last) in enumerate(spans) if first < right and last > left]
    start = inputs["input_ids"].shape[1]
    ids = torch.tensor([written])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    mask = torch.ones_like(inputs["input_ids"])
    mask[0, (inputs["input_ids"][0] == policy.image_token_id).nonzero()[:, 0][~visible]] = 0
    size = inputs["input_ids"].shape[1]
    positions = torch.arange(size)[None]
    inputs |= {"attention_mask": mask, "position_ids": positions}
    with torch.inference_mode():
        logits = policy.base_model(**inputs, use_cache=False).logits[0].float().log_softmax(-1)
    return sum(float(logits[start + place - 1, ids[0, place]]) for place in word)


def probed(policy: Policy, examples: list[Example], answers: list[str], **how: Any) -> list[Probed]:
    pictures = how.pop("pictures", range(len(examples)))
    return list(probe(policy, examples, answers, last_words(answers), pictures, 0, how.pop("gist_tokens", 4), **how))


def test_image_hidden_and_shown_are_the_naive_masked_forward(
    policy: Policy, examples: list[Example], answers: list[str]
) -> None:
    made = probed(policy, examples, answers)
    assert len(made) == sum(len(split(answer)) for answer in answers)
    tokens = int((policy.prompter(examples[0])["input_ids"] == policy.image_token_id).sum())
    for one in made[:6]:
        example, answer = examples[one.row], answers[one.row]
        for image, visible in (("shown", True), ("hidden", False)):
            expected = naive(policy, example, answer, one.mention, torch.full((tokens,), visible))
            assert one.found[image, "own"].log_prob == pytest.approx(expected, abs=1e-3)  # type: ignore[index]


def test_text_replaced_is_the_other_answers_text(policy: Policy, examples: list[Example], answers: list[str]) -> None:
    donor = next(answer for answer in answers if len(split(answer)) > 1)
    donors = dict.fromkeys(range(len(answers)), donor)
    tokens = int((policy.prompter(examples[0])["input_ids"] == policy.image_token_id).sum())
    checked = 0
    for one in probed(policy, examples, answers, donors=donors):
        own, before = split(answers[one.row]), "".join(split(donor)[: one.sentence])
        start = len("".join(own[: one.sentence]))
        for text, prefix in (("other", before), ("dropped", "")):
            if not one.sentence or ("shown", text) not in one.found:
                continue
            shift = len(prefix) - start
            moved = Mention(one.mention.begin + shift, one.mention.end + shift, one.mention.name)
            answer = (prefix + own[one.sentence]).rstrip()
            expected = naive(policy, examples[one.row], answer, moved, torch.full((tokens,), True))
            assert one.found["shown", text].log_prob == pytest.approx(expected, abs=1e-3)  # type: ignore[index]
            checked += 1
    assert checked >= 4


def test_nothing_changed_is_said_again(policy: Policy, examples: list[Example], answers: list[str]) -> None:
    """The answers are greedy; a text replaced by itself, and a gist of all tokens, change nothing."""
    words = last_words(answers)
    same = list(
        probe(policy, examples, answers, words, range(len(examples)), 0, 10_000, donors=dict(enumerate(answers)))
    )
    for one in same:
        assert one.found["shown", "own"].says
        unchanged = [context for context in (("gist", "own"), ("shown", "other")) if context in one.found]
        for context in unchanged:
            assert one.found[context].says  # type: ignore[index]
            assert one.found[context].log_prob == pytest.approx(one.found["shown", "own"].log_prob, abs=1e-5)  # type: ignore[index]
    assert any(("shown", "other") in one.found for one in same)
    none = probed(policy, examples, answers, gist_tokens=0)
    assert all(one.found["gist", "own"].log_prob == pytest.approx(one.found["hidden", "own"].log_prob) for one in none)


def test_the_text_in_its_place_is_of_no_row_about_the_same_picture(
    policy: Policy, examples: list[Example], answers: list[str]
) -> None:
    apart = probed(policy, examples, answers)
    again = [replace(example, id=f"{example.id} again") for example in examples]
    both = probed(policy, [*examples, *again], [*answers, *answers], pictures=[*range(len(examples))] * 2)
    assert [("shown", "other") in one.found for one in both] == 2 * [("shown", "other") in one.found for one in apart]
    for one, other in zip(both[: len(apart)], both[len(apart) :], strict=True):
        for context, said in one.found.items():
            assert other.found[context].log_prob == pytest.approx(said.log_prob, abs=1e-3), "nothing else is drawn"
    alone = probed(policy, examples, answers, pictures=[0] * len(examples))
    assert {text for one in alone if one.sentence for _, text in one.found} == {"own", "dropped"}


def test_the_first_sentence_has_no_text_before(policy: Policy, examples: list[Example], answers: list[str]) -> None:
    for one in probed(policy, examples, answers):
        texts = {text for _, text in one.found}
        assert texts == {"own"} if one.sentence == 0 else texts >= {"own", "dropped"}


def test_the_text_in_its_place_holds_no_word_that_is_asked_for() -> None:
    answer = "A room. A man sits."
    words = _words(answer, [Mention(10, 13, "person")])
    others = [["A Man stands. ", "He eats."], ["A person. ", "Tea."], ["A lamp."], ["A lamp. ", "Tea."]]
    assert _other(others, 1, words) == "A lamp. "
