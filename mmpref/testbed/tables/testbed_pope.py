"""POPE on unbiased scenes, made by POPE's own procedure, in the columns of the Hub's POPE.

Two present and two absent shapes are asked about in every image. The absent ones are drawn at random (``random``), are
the most frequent shapes of the SFT world (``popular``), or those that most often come with what is in the image there
(``adversarial``). As in POPE the questions about present shapes are the same in the three categories. One row::

    {"question_id": "1", "question": "Is there a ring in the image?", "answer": "yes", "image": <png>,
     "category": "random", "image_source": "test-00000", "id": "0"}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import ask_exists
from mmpref.testbed.render import cell
from mmpref.testbed.world import SHAPES, Scene, scene, statistics, stream

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
            rng = stream(split, index, 2)
            present = [truth.shapes[k] for k in rng.permutation(len(truth.shapes))[:ASKED]]
            chance = [str(shape) for shape in rng.permutation([s for s in SHAPES if s not in truth.shapes])]
            for yes, no in zip(present, absent(truth, category, chance)[:ASKED], strict=True):
                for shape, answer in ((yes, "yes"), (no, "no")):
                    yield {
                        "question_id": str(number % (len(present) * 2 * IMAGES[split]) + 1),
                        "question": ask_exists(shape, answer == "yes").text,
                        "answer": answer,
                        "image": picture,
                        "category": category,
                        "image_source": truth.id,
                        "id": str(number),
                    }
                    number += 1


def absent(truth: Scene, category: str, chance: list[str]) -> list[str]:
    """Order the shapes that the scene lacks by how soon a category asks about them; ``chance`` is a random order."""
    single, pairs = statistics()
    if category == "random":
        return chance
    if category == "popular":
        return sorted(chance, key=lambda shape: -single[shape])
    return sorted(chance, key=lambda shape: -max(pairs[present, shape] for present in truth.shapes))
