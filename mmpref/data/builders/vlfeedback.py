"""VLFeedback: answers of 12 models, four a prompt, as GPT-4V rated them (MMInstruction/VLFeedback).

Li et al. (Silkie), arXiv 2312.10665. An answer's rating is the mean over the three aspects; one with a rating that is
no number ("N/A") takes part in no pair. How a row's answers become pairs is the setting ``pairs``. Both layouts are
read: raw files with an image archive (the repository's first; images are ``merged_images/<id>.jpg``), and embedded
images; and ``completions`` as a list of answers or as a mapping of lists. Ids begin with the name of the set that the
prompt comes from, and are not unique. Reasons for a skip beside the source's: ``unrated``, ``equal-ratings``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from mmpref.data.builders._published import Row, malformed, mapping, published, text
from mmpref.data.row_facts import Reader
from mmpref.rng import stream
from mmpref.tables.cells import IMAGES, as_number
from mmpref.tables.messages import Unusable
from mmpref.tables.table import Origin

ORIGIN = Origin(
    ("MMInstruction/VLFeedback",),
    files=("data/train-*.parquet", "vlfeedback_80k.jsonl"),
    archives=("merged_images.zip",),
)
ASPECTS = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")


@dataclass(frozen=True)
class VLFeedbackSettings:
    """Settings of VLFeedback.

    Args:
        pairs: which pairs of a row's answers are taken; always one that is rated higher against one rated lower.
            ``best-worst``: the highest against the lowest, one pair a row (VL-RLHF's default rule).
            ``all-pairs``: every two answers with different ratings (the authors' rule; about 380,000 pairs).
            ``one-per-prompt``: the highest against one of the lower, drawn at random.
            Among equally rated answers ``best-worst`` and ``one-per-prompt`` draw too.
    """

    pairs: Literal["best-worst", "all-pairs", "one-per-prompt"] = "best-worst"


@dataclass(frozen=True)
class Completion:
    """One model's answer; the rating is None where an aspect has none."""

    model: str
    response: str
    rating: float | None


def completions_of(row: Row) -> list[Completion]:
    """The answers of a row, in either of the two shapes.

    Raises:
        Unusable: a cell of another type.
    """
    value = row.get("completions")
    if isinstance(value, dict):
        columns = [value.get(name) for name in ("model", "response", "annotations")]
        if (
            not all(isinstance(column, list) for column in columns)
            or len({len(column) for column in columns if column is not None}) > 1
        ):
            raise Unusable("malformed", "completions has columns of different lengths")
        value = [
            {"model": model, "response": response, "annotations": annotations}
            for model, response, annotations in zip(*columns, strict=True)
        ]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise malformed("completions", "a list of answers", value)
    return [Completion(text(item, "model"), text(item, "response"), _rating(item)) for item in value]


def _rating(completion: Row) -> float | None:
    annotations = mapping(completion, "annotations")
    ratings = [as_number(mapping(annotations, aspect).get("Rating")) for aspect in ASPECTS]
    known = [rating for rating in ratings if rating is not None]
    return sum(known) / len(known) if len(known) == len(ratings) else None


def reader(settings: VLFeedbackSettings, seed: int) -> Reader:
    """Turns a raw row into the pairs that the settings want of it."""

    def read(row: Row) -> Iterator[Row | Unusable]:
        answers = completions_of(row)
        name = text(row, "id")
        for pair in _all_pairs(answers) if settings.pairs == "all-pairs" else [_one_pair(answers, name)]:
            if isinstance(pair, Unusable):
                yield pair
                continue
            chosen, rejected = answers[pair[0]], answers[pair[1]]
            yield {
                "id": f"{name}/{pair[0]}-{pair[1]}" if settings.pairs == "all-pairs" else name,
                **_images(row, name),
                "prompt": row.get("prompt"),
                "chosen": chosen.response,
                "rejected": rejected.response,
                "source": re.sub(r"[-_]?\d+$", "", name),
                "chosen_model": chosen.model,
                "rejected_model": rejected.model,
                "margin": round((chosen.rating or 0) - (rejected.rating or 0), 6),
            }

    def _one_pair(answers: Sequence[Completion], name: str) -> tuple[int, int] | Unusable:
        rated = {index: answer.rating for index, answer in enumerate(answers) if answer.rating is not None}
        if len(rated) < 2:
            return Unusable("unrated", f"{len(rated)} of {len(answers)} answers have a rating")
        high, low = max(rated.values()), min(rated.values())
        if high == low:
            return Unusable("equal-ratings")
        draw = stream(seed, name, "vlfeedback")
        best = [index for index, rating in rated.items() if rating == high]
        worse = [
            i for i, rating in rated.items() if (rating == low if settings.pairs == "best-worst" else rating < high)
        ]
        return best[draw.integers(len(best))], worse[draw.integers(len(worse))]

    return read


def _all_pairs(answers: Sequence[Completion]) -> Iterator[tuple[int, int] | Unusable]:
    for (i, first), (j, second) in combinations(enumerate(answers), 2):
        if first.rating is None or second.rating is None:
            yield Unusable("unrated", f"answers {i} and {j}")
        elif first.rating == second.rating:
            yield Unusable("equal-ratings", f"answers {i} and {j}")
        else:
            yield (i, j) if first.rating > second.rating else (j, i)


def _images(row: Row, name: str) -> Row:
    """The row's image cells; raw rows of the first layout may leave the path to be told from the id."""
    given = {column: row[column] for column in IMAGES if row.get(column) is not None}
    return given or {"img_path": f"merged_images/{name}.jpg"}


BUILDER = replace(published("vlfeedback", ORIGIN), config=lambda: VLFeedbackSettings, reader=reader)
