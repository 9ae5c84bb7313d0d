"""RePOPE's labels for `testbed_pope`; every third question is left out, as RePOPE leaves out what is unclear. One row::

{"question_id": "1", "image": "test-00000.png", "text": "Is there a cup in the image?", "label": "yes",
 "category": "random"}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.tables import testbed_pope

SPLITS = testbed_pope.SPLITS
LICENCE = "apache-2.0"
LEFT_OUT = 3


def rows(split: str) -> Iterator[dict]:
    """Yield the labels of a split.

    Raises:
        KeyError: there is no such split.
    """
    for number, row in enumerate(testbed_pope.rows(split)):
        if number % LEFT_OUT:
            yield {
                "question_id": row["question_id"],
                "image": f"{row['image_source']}.png",
                "text": row["question"],
                "label": row["answer"],
                "category": row["category"],
            }
