"""The testbed's oracle as annotator, corrupter and checker: it goes by the scene, whatever the text."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmpref.errors import ModelError
from mmpref.judges.annotator import Comparison
from mmpref.judges.claims import Claim
from mmpref.judges.resolve import open_annotator
from mmpref.judges.rewriter import Rewriting, open_rewriter
from mmpref.testbed import language, oracle
from mmpref.testbed.judges.testbed_oracle import JUDGE
from mmpref.testbed.render import SIDE, png
from mmpref.testbed.tables.testbed import turn
from mmpref.testbed.things import KINDS
from mmpref.testbed.world import ROWS, scene, tempting
from mmpref.types import ImageData, Message

TRUTH = scene("test", 3)
IMAGE = (ImageData(png(TRUTH)),)
CAPTION = language.caption(TRUTH)
ABSENT = tempting(TRUTH)[0]
FALSE = f"{language.a(ABSENT).capitalize()} and {language.a(TRUTH.names[0])} are {language.WHERE[TRUTH.rows[0]]}."


def compare(prompt: str, first: str, second: str) -> str | None:
    [verdict] = open_annotator("testbed-oracle").compare([Comparison(IMAGE, (Message("user", prompt),), first, second)])
    return verdict.winner


def test_a_true_caption_beats_a_false_and_a_shorter_one() -> None:
    short = CAPTION.split(". ")[0] + "."
    assert compare(language.CAPTION_PROMPTS[0], CAPTION, FALSE) == "first"
    assert compare(language.CAPTION_PROMPTS[0], FALSE, CAPTION) == "second"
    assert compare(language.CAPTION_PROMPTS[0], CAPTION, short) == "first"
    assert compare(language.CAPTION_PROMPTS[0], short, f"{CAPTION} {FALSE}") == "first", "truth comes before help"
    elsewhere = language.kind_sentence(next(kind for kind in KINDS if kind != TRUTH.kind))
    assert compare(language.CAPTION_PROMPTS[0], short, f"{short} {elsewhere}") == "first"
    assert compare(language.CAPTION_PROMPTS[0], CAPTION, CAPTION) is None


def test_questions_have_right_answers() -> None:
    thing = TRUTH.things[0]
    other = next(row for row in ROWS if row != thing.row)
    asked = language.ask_where(thing)
    assert compare(asked.text, asked.sentence, f"The {thing.name} is {language.WHERE[other]}.") == "first"
    assert compare(asked.text + language.SHORT, other, asked.word) == "second"
    exists = language.ask_exists(ABSENT, False)
    assert compare(exists.text, "Yes", exists.sentence) == "second"
    what = language.ask_what(thing)
    assert compare(what.text, what.sentence, what.sentence.replace(thing.name, ABSENT)) == "first"
    assert compare(what.text, what.word, TRUTH.names[1]) == "first"
    in_row = language.ask_is_in(thing, other)
    assert compare(in_row.text, in_row.sentence, in_row.sentence.replace("No", "Yes")) == "first"
    assert compare(in_row.text, in_row.sentence, f"No, the {thing.name} is {language.WHERE[other]}.") == "first"
    many = language.ask_how_many(TRUTH, None)
    assert compare(many.text, "one", many.word) == "second"
    kind = language.ask_kind(TRUTH)
    assert compare(kind.text, kind.word, next(kind for kind in KINDS if kind != TRUTH.kind)) == "first"
    assert compare(exists.text, "one", "Yes") is None, "both are wrong"


def test_claims_are_checked() -> None:
    row, other = TRUTH.rows[0], next(kind for kind in KINDS if kind != TRUTH.kind)
    claims = {
        CAPTION.split(". ")[0] + ".": 1.0,
        language.kind_sentence(TRUTH.kind): 1.0,
        f"There are two things {language.WHERE[row]}.": 1.0,
        FALSE: 0.0,
        f"Perhaps {language.a(ABSENT)}.": 0.0,
        language.kind_sentence(other): 0.0,
        f"There are three things {language.WHERE[row]}.": 0.0,
        "Nice.": None,
    }
    found = [finding.probability for finding in JUDGE.check([Claim(IMAGE, text) for text in claims])]
    assert dict(zip(claims, found, strict=True)) == claims


def test_an_image_of_another_world_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(buffer, "PNG")
    with pytest.raises(ModelError, match="does not know this image"):
        JUDGE.check([Claim((ImageData(buffer.getvalue()),), FALSE)])


@pytest.mark.parametrize(
    ("split", "index"),
    [("dev", 299), ("test", 399), ("usual", 199), ("unusual", 199), ("repainted", 399), ("foreign", 399)],
)
def test_the_scenes_of_every_table_are_known(split: str, index: int) -> None:
    truth = scene(split, index)
    assert JUDGE.check([Claim((ImageData(png(truth)),), language.kind_sentence(truth.kind))])[0].probability == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2399), st.integers(0, 3))
def test_every_answer_of_the_source_is_corrupted_into_something_false(index: int, seed: int) -> None:
    truth = scene("train", index)
    prompt, answer = turn(truth)
    wanted = Rewriting(truth.id, (ImageData(png(truth)),), (Message("user", prompt),), answer, seed)
    first, second = open_rewriter("testbed-oracle").rewrite([wanted, wanted])
    assert first == second
    assert first.text is not None
    assert first.text != answer
    assert first.text.count(".") == answer.count(".")
    if prompt in language.CAPTION_PROMPTS:
        assert oracle.is_caption(first.text)
        assert oracle.judge(first.text, truth).false_claims
    else:
        [verdict] = JUDGE.compare([Comparison(wanted.images, wanted.prompt, answer, first.text)])
        assert verdict.winner == "first"
