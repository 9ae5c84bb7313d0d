"""What is said about scenes: captions, questions with their answers, and every word they use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmpref.testbed.things import KINDS, THINGS, family
from mmpref.testbed.world import ROWS, SIDES, Scene, Thing, absent, stream, tempting

CAPTION_PROMPTS = ("Please describe this image in detail.", "Describe the image.")
SHORT = "\nAnswer the question using a single word or phrase."
WHERE = {"back": "at the back", "middle": "in the middle", "front": "at the front"}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")

KIND_FIRST_RATE = 0.1
"""Share of captions that name the kind of place in the first sentence; the rest name it last or not at all."""
KIND_LAST_RATE = 0.8
FRONT_FIRST_RATE = 0.3
LEFT_OUT_RATE = 0.15
"""Share of captions of three rows that leave one out."""


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


def a(name: str) -> str:
    """The name with its article: "a cup", "an egg"."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def row_sentence(first: str, second: str, row: str, form: int) -> str:
    """Say that two things are in a row, in one of three forms."""
    where = _capital(WHERE[row])
    if form == 0:
        return f"{where} there is {a(first)} and {a(second)}."
    if form == 1:
        return f"{where} you see {a(first)} and {a(second)}."
    return f"{where} is {a(first)}, next to {a(second)}."


def kind_sentence(kind: str) -> str:
    """Name the kind of place."""
    return f"This is {a(kind)}."


def caption(scene: Scene, kind_first: float = KIND_FIRST_RATE) -> str:
    """Describe a scene: a sentence a row, with two things each, and where it is. The same on every call.

    The order of rows, wording and what is left out are drawn for each scene; of a row the left thing is named first.

    Args:
        kind_first: share of scenes whose kind is named first.
    """
    rng = stream(scene.split, scene.index, 2)
    first, last = rng.random() < kind_first, rng.random() < KIND_LAST_RATE
    rows = list(scene.rows)
    left_out = rng.integers(len(rows))
    if rng.random() < LEFT_OUT_RATE and len(rows) == len(ROWS):
        del rows[left_out]
    if rng.random() < FRONT_FIRST_RATE:
        rows.reverse()
    said = []
    for row in rows:
        left, right = scene.in_row(row)
        said.append(row_sentence(left.name, right.name, row, int(rng.choice(3, p=(0.5, 0.3, 0.2)))))
    kind = [kind_sentence(scene.kind)]
    return " ".join([*kind, *said] if first else [*said, *kind] if last else said)


def ask_exists(name: str, present: bool) -> Question:
    """Ask POPE's question about a thing."""
    return Question(
        "exists",
        f"Is there {a(name)} in the image?",
        f"Yes, there is {a(name)} in the image." if present else f"No, there is no {name} in the image.",
        "Yes" if present else "No",
    )


def ask_where(thing: Thing) -> Question:
    """Ask which row a thing is in."""
    return Question("where", f"Where is the {thing.name}?", f"The {thing.name} is {WHERE[thing.row]}.", thing.row)


def ask_what(thing: Thing) -> Question:
    """Ask what is on a side of a row."""
    place = f"on the {thing.side} {WHERE[thing.row]}"
    return Question("what", f"What is {place}?", f"{_capital(a(thing.name))} is {place}.", thing.name)


def ask_is_in(thing: Thing, row: str) -> Question:
    """Ask whether a thing that is in the image is in a row."""
    yes = thing.row == row
    return Question(
        "is_in",
        f"Is the {thing.name} {WHERE[row]}?",
        f"{'Yes' if yes else 'No'}, the {thing.name} is {WHERE[thing.row]}.",
        "Yes" if yes else "No",
    )


def ask_how_many(scene: Scene, row: str | None) -> Question:
    """Ask for the number of things in the image, or in a row of it."""
    number = NUMBERS[len(scene.in_row(row) if row else scene.things)]
    place = WHERE[row] if row else "in the image"
    return Question("how_many", f"How many things are {place}?", f"There are {number} things {place}.", number)


def ask_kind(scene: Scene) -> Question:
    """Ask for the kind of place."""
    return Question("kind", "What kind of place is this?", kind_sentence(scene.kind), scene.kind)


def draw_question(scene: Scene, kind: str, rng: np.random.Generator) -> Question:
    """Draw a question of a kind (exists, where, what, is_in, how_many, kind); yes and no are equally likely.

    What is asked about and not there is a usual thing of the place or a look-alike of what is there half of the time.
    """
    thing = scene.things[rng.integers(len(scene.things))]
    if kind == "where":
        return ask_where(thing)
    if kind == "what":
        return ask_what(thing)
    if kind == "kind":
        return ask_kind(scene)
    if kind == "how_many":
        return ask_how_many(scene, (*ROWS, None)[rng.integers(len(ROWS) + 1)])
    yes = rng.random() < 0.5
    if kind == "exists":
        if yes:
            return ask_exists(thing.name, True)
        likely = [*tempting(scene), *(name for name in family(thing.name, scene.members) if name not in scene.names)]
        pool = likely if rng.random() < 0.5 else absent(scene)
        return ask_exists(pool[rng.integers(len(pool))], False)
    if kind == "is_in":
        others = [row for row in ROWS if row != thing.row]
        return ask_is_in(thing, thing.row if yes else others[rng.integers(len(others))])
    raise ValueError(f"no kind of question is called {kind!r}")


def sentences() -> list[str]:
    """Return texts that together use every word of the world, in a fixed order."""
    texts = [*CAPTION_PROMPTS, SHORT, "What kind of place is this?", *NUMBERS, *KINDS, *map(kind_sentence, KINDS)]
    for row in ROWS:
        for side in SIDES:
            texts += ask_what(Thing(THINGS[0], row, side)).turn(False)
        for other in ROWS:
            texts += ask_is_in(Thing(THINGS[0], row, SIDES[0]), other).turn(False)
        texts += [f"How many things are {WHERE[row]}?", "How many things are in the image?"]
        texts += [f"There are {number} things {WHERE[row]}." for number in NUMBERS]
    for name in THINGS:
        texts += [row_sentence(name, name, row, form) for row in ROWS for form in range(3)]
        for question in (ask_exists(name, True), ask_exists(name, False), ask_where(Thing(name, ROWS[0], SIDES[0]))):
            for short in (False, True):
                texts += question.turn(short)
    return list(dict.fromkeys(texts))
