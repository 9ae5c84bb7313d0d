"""What is drawn together: all that was asked about one image, however its rows call it.

A benchmark gives each sample the id of its image that its row has (`mmpref.bench.benchmark.Sample.image_id`). Of a row
without one that may be the row's number, or its question's id, so that one image stands under several: its content
tells.

An id whose rows show different pictures may name something else, such as where they were taken from. They are drawn
together all the same, for they may also be views of one thing; but it is told (`remarks_on_ids`).

Samples of groups (`mmpref.bench.parts`) are left as they are: there the id is of what counts together, as MME's pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmpref.bench.benchmark import Sample
from mmpref.bench.cells import images_digest
from mmpref.log import counted


def drawn_together(samples: Sequence[Sample]) -> list[Sample]:
    """The samples, all about the same images under one ``image_id``, with whatever shares an id with them: the first
    one's. Those whose images cannot be read are left as they are."""
    order = {name: place for place, name in enumerate(dict.fromkeys(sample.image_id for sample in samples))}
    joined: dict[str, str] = {}
    seen: dict[bytes, str] = {}

    def first_of(name: str) -> str:
        while name in joined:
            name = joined[name]
        return name

    for sample in samples:
        if not _is_seen(sample):
            continue
        known = first_of(seen.setdefault(images_digest(sample.images), sample.image_id))
        first, later = sorted((known, first_of(sample.image_id)), key=order.__getitem__)
        if first != later:
            joined[later] = first
    return [dataclasses.replace(one, image_id=first_of(one.image_id)) if joined else one for one in samples]


def remarks_on_ids(benchmark: str, samples: Sequence[Sample]) -> tuple[str, ...]:
    """What must be said of ids whose rows show different pictures; nothing where there are none.

    Args:
        samples: as their rows call their images.
    """
    shown: dict[str, dict[bytes, str]] = {}
    for sample in filter(_is_seen, samples):
        shown.setdefault(sample.image_id, {}).setdefault(images_digest(sample.images), sample.id)
    several = {name: list(rows.values()) for name, rows in shown.items() if len(rows) > 1}
    if not several:
        return ()
    name, (first, second, *_) = next(iter(several.items()))
    ids = f"{counted(len(several), 'id')} of an image stand{'s' * (len(several) == 1)}"
    return (
        f"{benchmark}: {ids} for {sum(map(len, several.values())):,} different pictures (first: {name[:80]!r}, of rows "
        f"{first} and {second}). Intervals and tests take all pictures of an id for one image. If it names no image, "
        "such as a source, leave that column out or call it otherwise: then each picture is an image.",
    )


def _is_seen(sample: Sample) -> bool:
    """Whether its id is of images alone, and these can be read."""
    return not sample.groups and bool(sample.images) and all(image.content for image in sample.images)
