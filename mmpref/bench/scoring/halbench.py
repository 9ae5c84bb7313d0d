"""Object HalBench's counting: which COCO objects a list of names holds, and which of them the image does not show.

Rule: RLAIF-V `eval/eval_gpt_obj_halbench.py` (commit 83d917b) with ``--use_gpt``. A name with double words counts as
these alone ("car at a traffic light" is a traffic light and no car); else its nouns count, those that stand side by
side as one ("bus stop" is no bus). Words count once in a response, synonyms apart: "man" and "person" are two mentions.

One deviation: the original finds lemmas and nouns by spaCy's `en_core_web_trf`, which pip cannot install as a
dependency. Here words are made singular as in `mmpref.synonyms`, and what stands between function words
counts whole: "red bus" is a bus there and nothing here. The prompt asks for names without attributes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from pathlib import Path

from mmpref.bench.cells import column_of, objects_cell, text_cell
from mmpref.bench.scoring import coco
from mmpref.errors import InputError, UsageError
from mmpref.synonyms import ListedObjects, Synonyms
from mmpref.tables.cells import OBJECTS
from mmpref.tables.table import Row

SHORT = 3
"""Answers of so many words or fewer mention nothing, and no judge is asked."""
_BETWEEN = frozenset(
    {
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "its",
        "his",
        "her",
        "their",
        "some",
        "and",
        "or",
        "of",
        "in",
        "on",
        "at",
        "by",
        "to",
        "for",
        "from",
        "with",
        "without",
        "near",
        "under",
        "over",
        "above",
        "behind",
        "beside",
        "between",
        "inside",
        "into",
        "onto",
    }
)


def is_short(answer: str) -> bool:
    return len(answer.split()) <= SHORT


def mentions(names: Sequence[str], synonyms: Synonyms) -> list[str]:
    """The words for COCO's objects that names hold, each once, in order."""
    words = list(dict.fromkeys(word for name in names for word in _parts(synonyms.words(name), synonyms)))
    if "toilet" in words and "seat" in words:
        words.remove("seat")
    return [word for word in words if word in synonyms.node]


def _parts(words: Sequence[str], synonyms: Synonyms) -> list[str]:
    doubles, i = [], 0
    while i < len(words):
        known = synonyms.double.get(" ".join(words[i : i + 2]))
        doubles += [known] if known else []
        i += 2 if known else 1
    return doubles or [
        " ".join(part)
        for between, part in groupby(words, lambda word: word in _BETWEEN or not word[0].isalnum())
        if not between
    ]


def count(words: Sequence[str], answer: str, truth: Collection[str], synonyms: Synonyms) -> dict[str, float]:
    """Counts of one response.

    Args:
        words: that it mentions objects by, as of `mentions`.
        truth: objects of the image.
    """
    mentions = [synonyms.node[word] for word in words]
    wrong = [name for name in mentions if name not in truth]
    return {
        "mentions": float(len(mentions)),
        "hallucinated": float(len(wrong)),
        "with_hallucination": float(bool(wrong)),
        "with_mention": float(bool(mentions)),
        "found": float(len(set(mentions).intersection(truth))),
        "objects": float(len(set(truth))),
        "words": float(len(answer.strip().split(" "))),
        "n": 1.0,
    }


def truths(
    rows: Sequence[tuple[Row, str]], annotations: str | None, synonyms: Synonyms, listed: ListedObjects
) -> list[list[str]]:
    """The objects of each row's image: its ``objects`` (or ``gt_object``), or COCO's by its ``image_id``.

    Args:
        rows: each with how an error names it.
        annotations: folder of COCO's annotations.
        listed: reads what rows list.

    Raises:
        UsageError: annotations are needed and not given.
        InputError: annotations that do not know an image, or columns that do not hold what they should.
    """
    wanted = {_coco_id(row, where) for row, where in rows if column_of(row, *OBJECTS) not in row}
    if wanted and annotations is None:
        raise UsageError(
            "The rows of object-halbench do not say what their images show (no column objects).",
            "Unpack annotations_trainval2014.zip of https://cocodataset.org and give the folder as "
            "--set benchmark.object-halbench.annotations=FOLDER.",
        )
    annotated = coco.objects(Path(annotations), wanted, synonyms) if wanted and annotations else {}
    truths = []
    for number, (row, where) in enumerate(rows):
        if column_of(row, *OBJECTS) in row:
            objects = {*listed(objects_cell(row, where), number)}
        elif (image := _coco_id(row, where)) in annotated:
            objects = annotated[image]
        else:
            raise InputError(f"{where}: the annotations in {annotations} have no image {image}.")
        truths.append(sorted(objects))
    return truths


def _coco_id(row: Row, where: str) -> int:
    try:
        return int(text_cell(row, "image_id", where))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}, column image_id is {row['image_id']!r}, which is no id of COCO's.") from error
