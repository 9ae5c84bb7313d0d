"""What COCO's 2014 annotations say is in an image: the categories of its instances, and what its captions mention.

This is the truth of CHAIR and Object HalBench (LisaAnne/Hallucination `utils/chair.py`). The official scripts read
the annotations of both splits; an id is of one of them, so that ``train`` is read only for what ``val`` does not have.
"""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from mmpref.errors import InputError, reason_of
from mmpref.synonyms import Synonyms
from mmpref.text_files import NOT_JSON, read_text

_COLUMNS = ("images", "annotations", "categories", "id", "name", "image_id", "category_id", "caption")
"""Outlines make up most of these files; they are dropped while they are read."""


def objects(folder: Path, wanted: Set[int], synonyms: Synonyms) -> dict[int, set[str]]:
    """The objects of the wanted images that the annotations know, by id.

    Args:
        folder: with ``instances_val2014.json``, ``captions_val2014.json``, and the same of ``train2014``.

    Raises:
        InputError: a file that is not there, or is none of COCO's.
    """
    objects_of: dict[int, set[str]] = {}
    for split in ("val", "train"):
        if not (missing := wanted - objects_of.keys()):
            break
        instances = _read(folder / f"instances_{split}2014.json", "images", "annotations", "categories")
        captions = _read(folder / f"captions_{split}2014.json", "annotations")
        try:
            names = {category["id"]: str(category["name"]) for category in instances["categories"]}
            objects_of |= {image["id"]: set() for image in instances["images"] if image["id"] in missing}
            for instance in instances["annotations"]:
                if instance["image_id"] in objects_of:
                    name = names[instance["category_id"]]
                    objects_of[instance["image_id"]].add(synonyms.node.get(name, name))
            for caption in captions["annotations"]:
                if caption["image_id"] in objects_of:
                    objects_of[caption["image_id"]].update(synonyms.objects(caption["caption"]))
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"The files of {split}2014 in {folder} are none of COCO's annotations ({error!r})."
            ) from error
    return objects_of


def _read(file: Path, *parts: str) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(
            f"There is no {file}.", "Unpack annotations_trainval2014.zip of https://cocodataset.org there."
        )
    try:
        read = json.loads(read_text(file), object_hook=lambda row: {key: row[key] for key in _COLUMNS if key in row})
        return {part: read[part] for part in parts}
    except (*NOT_JSON, TypeError, KeyError) as error:
        raise InputError(f"{file} is no file of COCO's annotations: {reason_of(error)}.") from error
