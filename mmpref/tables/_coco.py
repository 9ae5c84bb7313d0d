"""COCO's annotation files, and those that annotation tools write in their form: one JSON object, read as rows.

Captions (``captions_train2017.json``) give a row each, with ``image`` and ``caption``; instances
(``instances_val2017.json``) a row for each image, with ``image`` and the names of its ``objects``. Source:
https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmpref.errors import InputError


def is_coco(content: Any) -> bool:
    """Whether a JSON value is the content of such a file, and not a row."""
    if not isinstance(content, Mapping):
        return False
    images, annotations = content.get("images"), content.get("annotations")
    if not (isinstance(images, list) and isinstance(annotations, list)):
        return False
    return all(isinstance(one, Mapping) and {"id", "file_name"} <= one.keys() for one in images) and all(
        isinstance(one, Mapping) and "image_id" in one for one in annotations
    )


def rows_of(content: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """The rows of such a file.

    Raises:
        InputError: it has neither captions nor categories, or an annotation of an image or category that is not there.
    """
    names = {_key(image["id"]): image["file_name"] for image in content["images"]}
    annotations = content["annotations"]
    if annotations and all("caption" in one for one in annotations):
        for number, one in enumerate(annotations):
            image = _found(names, one["image_id"], f"{where}, annotation {number}", "image")
            yield {"id": one.get("id", number), "image": image, "caption": one["caption"]}
        return
    categories = content.get("categories")
    if not (annotations and isinstance(categories, list) and all("category_id" in one for one in annotations)):
        raise InputError(
            f"{where} is a file of COCO's form without captions and without objects.",
            "Those with captions are called captions_....json, those with objects instances_....json.",
        )
    kinds = {
        _key(one["id"]): one["name"] for one in categories if isinstance(one, Mapping) and {"id", "name"} <= one.keys()
    }
    objects: dict[Any, dict[str, None]] = {key: {} for key in names}
    for number, one in enumerate(annotations):
        place = f"{where}, annotation {number}"
        _found(names, one["image_id"], place, "image")
        objects[_key(one["image_id"])][_found(kinds, one["category_id"], place, "category")] = None
    for key, name in names.items():
        yield {"id": key, "image": name, "objects": list(objects[key])}


def _key(value: Any) -> Any:
    """An id as it can be looked up, whatever JSON has there."""
    return value if isinstance(value, str | int) else repr(value)


def _found(known: Mapping[Any, Any], value: Any, where: str, what: str) -> Any:
    if _key(value) not in known:
        raise InputError(f"{where} is of the {what} {str(value)[:60]!r}, which the file does not have.")
    return known[_key(value)]
