"""What is said about scenes: captions, questions with their answers, and every word they use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmpref.testbed.world import COLOURS, PLACES, SHAPES, Scene, Thing

CAPTION_PROMPTS = ("Please describe this image in detail.", "Describe the image.")
SHORT = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class Question:
    """A question about a scene with its answer as a sentence and as one word or phrase."""

    kind: str
    text: str
    sentence: str
    word: str

    def turn(self, short: bool) -> tuple[str, str]:
        """Return (prompt, answer); the short form asks for a word and gets it without a full stop."""
        return (self.text + SHORT, self.word) if short else (self.text, self.sentence)


def caption(scene: Scene) -> str:
    """Describe every thing of the scene in a sentence of its own, in reading order."""
    return " ".join(f"A {thing.colour} {thing.shape} is in the {thing.place}." for thing in scene.things)


def ask_colour(thing: Thing) -> Question:
    """Ask for the colour of a thing."""
    return Question(
        "colour",
        f"What color is the {thing.shape}?",
        f"The {thing.shape} is {thing.colour}.",
        thing.colour.capitalize(),
    )


def ask_place(thing: Thing) -> Question:
    """Ask where a thing is."""
    return Question(
        "place",
        f"Where is the {thing.shape}?",
        f"The {thing.shape} is in the {thing.place}.",
        thing.place.capitalize(),
    )


def ask_exists(shape: str, present: bool) -> Question:
    """Ask POPE's question about a shape."""
    return Question(
        "exists",
        f"Is there a {shape} in the image?",
        f"Yes, there is a {shape} in the image." if present else f"No, there is no {shape} in the image.",
        "Yes" if present else "No",
    )


def ask_is_colour(thing: Thing, colour: str) -> Question:
    """Ask whether a thing that is in the image has a colour."""
    same = thing.colour == colour
    return Question(
        "is_colour",
        f"Is the {thing.shape} {colour}?",
        f"Yes, the {thing.shape} is {colour}." if same else f"No, the {thing.shape} is {thing.colour}.",
        "Yes" if same else "No",
    )


def draw_question(scene: Scene, kind: str, rng: np.random.Generator) -> Question:
    """Draw a question of a kind (colour, place, exists, is_colour); yes and no are equally likely."""
    thing = scene.things[rng.integers(len(scene.things))]
    if kind == "colour":
        return ask_colour(thing)
    if kind == "place":
        return ask_place(thing)
    yes = rng.random() < 0.5
    if kind == "exists":
        absent = [shape for shape in SHAPES if shape not in scene.shapes]
        return ask_exists(thing.shape if yes else absent[rng.integers(len(absent))], yes)
    if kind == "is_colour":
        others = [colour for colour in COLOURS if colour != thing.colour]
        return ask_is_colour(thing, thing.colour if yes else others[rng.integers(len(others))])
    raise ValueError(f"no kind of question is called {kind!r}")


def sentences() -> list[str]:
    """Return texts that together use every word of the world, in a fixed order."""
    things = [Thing(colour, shape, place) for colour in COLOURS for shape in SHAPES for place in PLACES]
    texts = [*CAPTION_PROMPTS]
    for thing in things:
        texts.append(f"A {thing.colour} {thing.shape} is in the {thing.place}.")
        questions = [ask_colour(thing), ask_place(thing), ask_exists(thing.shape, True), ask_exists(thing.shape, False)]
        questions += [ask_is_colour(thing, colour) for colour in COLOURS]
        for question in questions:
            for short in (False, True):
                texts.extend(question.turn(short))
    return list(dict.fromkeys(texts))
