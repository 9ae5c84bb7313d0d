"""The testbed's oracle as annotator, corrupter and checker: it goes by the scene, whatever the text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpref.errors import ModelError
from mmpref.judges.annotator import Comparison
from mmpref.judges.claims import Claim
from mmpref.judges.resolve import open_annotator
from mmpref.judges.rewriter import Rewriting, open_rewriter
from mmpref.testbed import language, oracle
from mmpref.testbed.judges.testbed_oracle import JUDGE
from mmpref.testbed.render import png
from mmpref.testbed.tables.testbed import turn
from mmpref.testbed.world import scene
from mmpref.types import ImageData, Message

TRUTH = scene("test", 3)
IMAGE = (ImageData(png(TRUTH)),)
CAPTION = language.caption(TRUTH)
ABSENT = next(shape for shape in ("ring", "moon", "star", "heart") if shape not in TRUTH.shapes)


def compare(prompt: str, first: str, second: str) -> str | None:
    [verdict] = open_annotator("testbed-oracle").compare([Comparison(IMAGE, (Message("user", prompt),), first, second)])
    return verdict.winner


def test_a_true_caption_beats_a_false_and_a_shorter_one() -> None:
    false = f"A red {ABSENT} is in the top left."
    short = CAPTION.split(". ")[0] + "."
    assert compare(language.CAPTION_PROMPTS[0], CAPTION, false) == "first"
    assert compare(language.CAPTION_PROMPTS[0], false, CAPTION) == "second"
    assert compare(language.CAPTION_PROMPTS[0], CAPTION, short) == "first"
    assert compare(language.CAPTION_PROMPTS[0], short, f"{CAPTION} {false}") == "first", "truth comes before help"
    assert compare(language.CAPTION_PROMPTS[0], CAPTION, CAPTION) is None


def test_questions_have_right_answers() -> None:
    thing = TRUTH.things[0]
    other = next(colour for colour in ("red", "green") if colour != thing.colour)
    asked = language.ask_colour(thing)
    assert compare(asked.text, asked.sentence, f"The {thing.shape} is {other}.") == "first"
    assert compare(asked.text + language.SHORT, other.capitalize(), asked.word) == "second"
    exists = language.ask_exists(ABSENT, False)
    assert compare(exists.text, "Yes", exists.sentence) == "second"
    assert compare(exists.text, "Red", "Yes") is None, "both are wrong"


def test_claims_are_checked() -> None:
    claims = [CAPTION.split(". ")[0] + ".", f"A red {ABSENT} is in the top left.", "Nice."]
    assert [finding.probability for finding in JUDGE.check([Claim(IMAGE, text) for text in claims])] == [1.0, 0.0, None]


def test_an_image_of_another_world_is_refused() -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (48, 48)).save(buffer, "PNG")
    with pytest.raises(ModelError, match="does not know this image"):
        JUDGE.check([Claim((ImageData(buffer.getvalue()),), "A red ring is in the top left.")])


@settings(max_examples=80, deadline=None)
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
