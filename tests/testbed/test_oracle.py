"""The oracle reads what is said: captions in all their forms, answers, and names of two words."""

from __future__ import annotations

import numpy as np
import pytest

from mmpref.testbed.language import NUMBERS, a, ask_exists, caption, draw_question, kind_sentence, row_sentence
from mmpref.testbed.oracle import Claim, claims, is_caption, judge, mentions
from mmpref.testbed.reference import description, with_other
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.world import ROWS, SPLITS, absent, scene, tempting

QUESTIONS = ("exists", "where", "what", "is_in", "how_many", "kind")


@pytest.mark.parametrize("split", SPLITS)
def test_captions_and_descriptions_are_true(split):
    for index in range(40):
        truth = scene(split, index)
        for text in (caption(truth), description(truth)):
            verdict = judge(text, truth)
            assert is_caption(text)
            assert not verdict.hallucinated
            assert not verdict.typical
            assert not verdict.false_claims
            assert set(verdict.mentioned) == set(truth.names) - set(verdict.missed)
            assert {claim.what for claim in verdict.claims} >= set(verdict.mentioned)
        assert set(judge(description(truth), truth).mentioned) == set(truth.names)


@pytest.mark.parametrize("kind", QUESTIONS)
def test_an_answer_is_one_true_claim(kind):
    rng = np.random.default_rng(0)
    for index in range(100):
        truth = scene("dev", index)
        [claim] = claims(draw_question(truth, kind, rng).sentence)
        assert claim.holds(truth)


def test_whether_a_thing_is_there_is_said_as_it_is():
    rng = np.random.default_rng(0)
    for index in range(100):
        truth = scene("dev", index)
        question = draw_question(truth, "exists", rng)
        [claim] = claims(question.sentence)
        assert question == ask_exists(claim.what, claim.what in truth.names)


@pytest.mark.parametrize("name", THINGS)
def test_every_name_is_read_whole_in_every_form(name):
    for form in range(3):
        for row in ROWS:
            text = row_sentence(name, "cup", row, form)
            assert claims(text) == (Claim(name, row), Claim("cup", row))
            assert mentions(text) == (name, "cup")
            assert is_caption(text)
    assert mentions(f"Two {name}s and {a(name)}; no {name}.") == (name, name)


def test_the_longest_name_counts():
    assert mentions("A hot dog, a dog, a teddy bear and two wine glasses, boxes or a backpack.") == (
        "hot dog",
        "dog",
        "teddy bear",
        "wine glass",
        "box",
        "backpack",
    )
    assert mentions("a captain opens the keyboards") == ("keyboard",)


@pytest.mark.parametrize(
    ("sentence", "claim"),
    [
        ("The cup is at the back.", Claim("cup", "back")),
        ("Yes, the hot dog is in the middle.", Claim("hot dog", "middle")),
        ("No, the cup is at the front.", Claim("cup", "front")),
        ("A canoe is on the right at the back.", Claim("canoe", "back", "right")),
        ("There are six things in the image.", Claim("six")),
        ("There are two things at the front.", Claim("two", "front")),
        ("This is a harbor.", Claim("harbor")),
        ("This is an office.", Claim("office")),
        ("Yes, there is a cup in the image.", Claim("cup")),
        ("No, there is no cup in the image.", Claim("cup", there=False)),
    ],
)
def test_answers_are_read(sentence, claim):
    assert claims(sentence) == (claim,)
    assert claims(sentence.upper()) == (claim,)
    assert claims(f"Well {sentence}") == ()
    assert is_caption(sentence) is False


def test_a_claim_holds_where_nothing_of_it_is_wrong():
    truth = scene("test", 0)
    thing, [other, *_] = truth.things[0], absent(truth)
    row = next(row for row in ROWS if row != thing.row)
    side = "right" if thing.side == "left" else "left"
    assert Claim(thing.name).holds(truth)
    assert Claim(thing.name, thing.row, thing.side).holds(truth)
    assert Claim(other, there=False).holds(truth)
    assert Claim(truth.kind).holds(truth)
    assert Claim(NUMBERS[len(truth.things)]).holds(truth)
    assert Claim("two", thing.row).holds(truth)
    wrong = [Claim(other), Claim(other, thing.row), Claim(thing.name, row), Claim(thing.name, thing.row, side)]
    wrong += [Claim(thing.name, there=False), Claim(next(kind for kind in KINDS if kind != truth.kind)), Claim("one")]
    assert not any(claim.holds(truth) for claim in wrong)


def test_a_caption_is_judged_by_its_scene():
    truth = scene("test", 0)
    usual = tempting(truth)[0]
    other = next(name for name in absent(truth) if name not in tempting(truth))
    text = f"{row_sentence(usual, other, truth.rows[0], 0)} {description(truth)}"
    verdict = judge(text, truth)
    assert verdict.hallucinated == (usual, other)
    assert verdict.typical == (usual,)
    assert verdict.false_claims == (Claim(usual, truth.rows[0]), Claim(other, truth.rows[0]))
    assert not verdict.missed
    assert judge("", truth).missed == truth.names
    replaced = judge(description(with_other(truth, truth.names[0], usual)), truth)
    assert (replaced.hallucinated, replaced.missed) == ((usual,), (truth.names[0],))


def test_captions_have_rows_and_at_most_one_place_at_an_end():
    one, two, three = (row_sentence("cup", "egg", row, form) for form, row in enumerate(ROWS))
    place = kind_sentence("office")
    good = [[one], [one, two], [one, two, three], [place, one], [one, two, place], [place, one, two, three]]
    bad = [[], [place], [one, place, two], [place, one, place], [one, two, three, one], [one, "A cup."]]
    assert all(is_caption(" ".join(sentences)) for sentences in good)
    assert not any(is_caption(" ".join(sentences)) for sentences in bad)
    assert not is_caption(one.removesuffix("."))
    assert not is_caption("There is a egg and a cup at the back.")
    assert not is_caption("There is a cup and a ring at the back.")
