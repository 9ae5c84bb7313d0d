"""What is drawn together: all that was asked about one image, however its rows call it.

A benchmark gives each sample the id of its image that its row has (`mmpref.bench.benchmark.Sample.image_id`). Of a row
without one that may be the row's number, or its question's id, so that one image stands under several: its content
tells.

Samples of groups (`mmpref.bench.parts`) are left as they are: there the id is of what counts together, as MME's pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmpref.bench.benchmark import Sample
from mmpref.bench.cells import images_digest


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
        if sample.groups or not sample.images or not all(image.content for image in sample.images):
            continue
        known = first_of(seen.setdefault(images_digest(sample.images), sample.image_id))
        first, later = sorted((known, first_of(sample.image_id)), key=order.__getitem__)
        if first != later:
            joined[later] = first
    return [dataclasses.replace(one, image_id=first_of(one.image_id)) if joined else one for one in samples]
