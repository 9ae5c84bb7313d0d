"""POPE on even scenes, made by POPE's own procedure, in the columns of the Hub's POPE.

Two present and two absent things are asked about in every image. The absent ones are drawn at random (``random``), are
the most frequent things of the SFT world (``popular``), or those that most often come with what is in the image there
(``adversarial``). As in POPE the questions about present things are the same in the three categories. One row::

    {"question_id": "1", "question": "Is there a cup in the image?", "answer": "yes", "image": <png>,
     "category": "random", "image_source": "test-00000", "id": "0"}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import ask_exists
from mmpref.testbed.render import cell
from mmpref.testbed.world import Scene, absent, scene, statistics, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
CATEGORIES = ("random", "popular", "adversarial")
IMAGES = {"dev": 100, "test": 200}
ASKED = 2


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split, category by category.

    Raises:
        KeyError: there is no such split.
    """
    number = 0
    for category in CATEGORIES:
        for index in range(IMAGES[split]):
            truth = scene(split, index)
            picture = cell(truth)
            rng = stream(split, index, 3)
            present = [truth.names[k] for k in rng.permutation(len(truth.names))[:ASKED]]
            chance = [str(name) for name in rng.permutation(absent(truth))]
            for yes, no in zip(present, ordered(truth, category, chance)[:ASKED], strict=True):
                for name, answer in ((yes, "yes"), (no, "no")):
                    yield {
                        "question_id": str(number % (len(present) * 2 * IMAGES[split]) + 1),
                        "question": ask_exists(name, answer == "yes").text,
                        "answer": answer,
                        "image": picture,
                        "category": category,
                        "image_source": truth.id,
                        "id": str(number),
                    }
                    number += 1


def ordered(truth: Scene, category: str, chance: list[str]) -> list[str]:
    """Order the things that the scene lacks by how soon a category asks about them; ``chance`` is a random order."""
    single, pairs = statistics()
    if category == "random":
        return chance
    if category == "popular":
        return sorted(chance, key=lambda name: -single[name])
    return sorted(chance, key=lambda name: -sum(pairs[present, name] for present in truth.names))
