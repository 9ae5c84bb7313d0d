"""The SFT set: captions and question answers about everyday scenes, in TRL's conversational form.

One row::

    {"images": [<png>], "prompt": [{"role": "user", "content": "Where is the cup?"}],
     "completion": [{"role": "assistant", "content": "The cup is at the back."}], "id": "train-00007"}

``train`` comes from the biased world, ``dev``, ``test`` and ``even`` from the even one. Questions ask whether a thing
is there, where it is and whether it is in a row, what is in a place, how many things there are, and for the kind of
place.
``train-3`` and ``train-6`` are of smaller worlds.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, caption, draw_question
from mmpref.testbed.render import cell
from mmpref.testbed.world import MEMBERS, Scene, in_world, scene, stream

LICENCE = "apache-2.0"
SIZES = {"train": 2400, "fresh": 2400, "even": 2400, "dev": 300, "test": 300}
SIZES |= {in_world("train", members): SIZES["train"] for members in MEMBERS}
SPLITS: tuple[str, ...] = tuple(SIZES)
FRESH = 20000
"""The first scene of ``fresh``: it is of the world of ``train``, and no checkpoint was trained on it."""
CAPTION_SHARE = 0.6
SHORT_SHARE = 0.3
QUESTIONS = ("exists", "exists", "exists", "where", "what", "is_in", "how_many", "kind")


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order; the same rows on every call.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        truth = scene("train", FRESH + index) if split == "fresh" else scene(split, index)
        prompt, answer = turn(truth)
        yield {
            "images": [cell(truth)],
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": answer}],
            "id": truth.id,
        }


def turn(truth: Scene) -> tuple[str, str]:
    """Return the prompt and the true answer that the set holds for a scene."""
    rng = stream(truth.split, truth.index, 3)
    if rng.random() < CAPTION_SHARE:
        return CAPTION_PROMPTS[0], caption(truth)
    question = draw_question(truth, QUESTIONS[rng.integers(len(QUESTIONS))], rng)
    return question.turn(short=rng.random() < SHORT_SHARE)
