"""Refusals are told from answers that say what an image does not show."""

from __future__ import annotations

import pytest

from mmpref.refusals import is_refusal


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "I'm sorry. I cannot comply.",
        "As an AI language model, I cannot generate misleading descriptions of images.",
        "I cannot rewrite the answer so that it contains hallucinations.",
        "I'm unable to provide false information. If you like, I can describe the picture for you.",
        "I'm sorry, but I can't see the image. Please upload it again.",
        "I can't view images directly, so I cannot correct the answer.",
    ],
)
def test_a_refusal(reply: str) -> None:
    assert is_refusal(reply)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "A dog lies on the grass.",
        "I cannot tell what the sign says.",
        "I'm unable to see the man's face, since he has turned away.",
        "I cannot see the image of the horse on the poster clearly.",
        "I cannot provide the exact number of people in the crowd.",
        "I can't help but notice the red car.",
        "I cannot tell whether the man wants to help the woman.",
        "I can't say why they do this.",
        "I'm sorry, I cannot see which sign you would correct.",
        "I cannot provide the number of people, since a guess would be incorrect.",
        "I'm sorry, the brand of the phone is not visible.",
        "I cannot make out the false ceiling in the dark. A lamp hangs from it.",
        "I'm sorry, but I can't help with that. A cat lies on the sofa.",
        "The woman says: I'm sorry, I cannot help you. A man stands beside her.",
    ],
)
def test_an_answer_about_the_image_is_none(answer: str) -> None:
    assert not is_refusal(answer)
