"""CHAIR's counting of objects in captions, as published, with recall and length beside it.

Rule: LisaAnne/Hallucination `utils/chair.py` (commit 6e4d33c); which objects a caption mentions is told by
`mmpref.synonyms`. CHAIR_i counts mentions, recall counts object types, both summed over the corpus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmpref.synonyms import Synonyms
from mmpref.words import words

RATES = {
    "chair_i": ("hallucinated", "mentions"),
    "chair_s": ("with_hallucination", "n"),
    "recall": ("found", "objects"),
    "mentions": ("mentions", "n"),
    "words": ("words", "n"),
}
"""Quotients of sums of counts; NaN where the second is 0, where the original divides by 0."""
PARTS = {"chair_i_typical": ("typical", "mentions"), "chair_i_other": ("other", "mentions")}
"""Of chair_i, where it is known what is usual in an image. Not in the original."""


def count(
    caption: str, truth: Sequence[str], synonyms: Synonyms, usual: Sequence[str] | None = None
) -> dict[str, float]:
    """Counts of one caption.

    Args:
        truth: objects of the image, by the table's names.
        usual: objects that are usual in such an image; with them, hallucinated mentions are also counted as ``typical``
            and ``other``.
    """
    mentions = synonyms.objects(caption)
    objects = set(truth)
    wrong = [name for name in mentions if name not in objects]
    parts = {}
    if usual is not None:
        typical = sum(name in usual for name in wrong)
        parts = {"typical": float(typical), "other": float(len(wrong) - typical)}
    return {
        "mentions": float(len(mentions)),
        "hallucinated": float(len(wrong)),
        "with_hallucination": float(bool(wrong)),
        "found": float(len(objects.intersection(mentions))),
        "objects": float(len(objects)),
        "words": float(len(words(caption))),
        **parts,
        "n": 1.0,
    }


def scores(predictions: Sequence[str], references: Sequence[Sequence[str]], synonyms: Synonyms) -> dict[str, float]:
    """chair_i, chair_s, recall, mentions and words a caption; NaN what is over nothing.

    Args:
        references: what each image shows, in the words of captions; names that no line of the table has are left out.

    Raises:
        ValueError: there are no captions.
    """
    if not predictions:
        raise ValueError("There are no captions.")
    sums: dict[str, float] = {}
    for caption, truth in zip(predictions, references, strict=True):
        objects = [one for name in truth for one in synonyms.listed(name)]
        for name, value in count(caption, objects, synonyms).items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: sums[top] / sums[bottom] if sums[bottom] else math.nan for name, (top, bottom) in RATES.items()}
