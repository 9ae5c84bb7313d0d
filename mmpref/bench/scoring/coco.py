"""What COCO's 2014 annotations say is in an image: the categories of its instances, and what its captions mention.

This is the truth of CHAIR and Object HalBench (LisaAnne/Hallucination `utils/chair.py`). The official scripts read
the annotations of both splits; an id is of one of them, so that ``train`` is read only for what ``val`` does not have.
"""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from mmpref.bench.scoring.chair import Synonyms
from mmpref.errors import InputError, reason_of
from mmpref.text_files import read_text

_KEPT = ("images", "annotations", "categories", "id", "name", "image_id", "category_id", "caption")
"""Outlines make up most of these files; they are dropped while they are read."""


def objects(folder: Path, wanted: Set[int], synonyms: Synonyms) -> dict[int, set[str]]:
    """The objects of the wanted images that the annotations know, by id.

    Args:
        folder: with ``instances_val2014.json``, ``captions_val2014.json``, and the same of ``train2014``.

    Raises:
        InputError: a file that is not there, or is none of COCO's.
    """
    found: dict[int, set[str]] = {}
    for split in ("val", "train"):
        if not (left := wanted - found.keys()):
            break
        instances = _read(folder / f"instances_{split}2014.json", "images", "annotations", "categories")
        names = {one["id"]: str(one["name"]) for one in instances["categories"]}
        found |= {one["id"]: set() for one in instances["images"] if one["id"] in left}
        for one in instances["annotations"]:
            if one["image_id"] in found:
                name = names[one["category_id"]]
                found[one["image_id"]].add(synonyms.node.get(name, name))
        for one in _read(folder / f"captions_{split}2014.json", "annotations")["annotations"]:
            if one["image_id"] in found:
                found[one["image_id"]].update(synonyms.objects(one["caption"]))
    return found


def _read(file: Path, *parts: str) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(
            f"There is no {file}.", "Unpack annotations_trainval2014.zip of https://cocodataset.org there."
        )
    try:
        read = json.loads(read_text(file), object_hook=lambda one: {key: one[key] for key in _KEPT if key in one})
        return {part: read[part] for part in parts}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is no file of COCO's annotations: {reason_of(error)}.") from error
