"""What is on a side of a row of even scenes, with ten people's answers and words to read. One row of TextVQA::

    {"image_id": "test-00000", "question_id": 0, "question": "What is on the left at the back?", "image": <png>,
     "answers": ["cup", "Cup", "cup.", ..., "fork"], "ocr_tokens": ["cup", "fork"]}

Eight people name the thing, each in another way of writing it, and two its neighbour in the row.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import ask_what
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
SIZES = {"dev": 200, "test": 300}
_WRITTEN = ("{}", "{}", "{}.", "the {}", "A {}", "{}?", " {} ", "{}!")


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        truth = scene(split, index)
        thing = truth.things[stream(split, index, 3).integers(len(truth.things))]
        [other] = [neighbour.name for neighbour in truth.in_row(thing.row) if neighbour != thing]
        names = [form.format(thing.name.capitalize() if i % 2 else thing.name) for i, form in enumerate(_WRITTEN)]
        yield {
            "image_id": truth.id,
            "question_id": index,
            "question": ask_what(thing).text,
            "answers": [*names, other, other],
            "image": cell(truth),
            "ocr_tokens": [thing.name, other],
        }
