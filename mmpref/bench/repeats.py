"""Questions that are asked twice: by their images' content and their words, wherever the rows lie."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmpref.bench.benchmark import Sample
from mmpref.bench.cells import images_digest
from mmpref.types import as_dicts

_TRUTH = ("answer", "answers", "truth", "objects")
"""What of a reference is the answer; in the rest, such as a question's category, rows may differ."""


def question_digest(sample: Sample) -> bytes | None:
    """SHA-256 of a sample's images and messages; None where an image cannot be read."""
    if not all(image.content for image in sample.images):
        return None
    words = json.dumps(as_dicts(sample.messages), sort_keys=True)
    return hashlib.sha256(images_digest(sample.images) + words.encode()).digest()


def remarks_on_repeats(benchmark: str, samples: Sequence[Sample]) -> tuple[str, ...]:
    """What must be said of questions that stand there more than once, which count as often, as in official scorers; and
    of those whose answers differ. Nothing where there are none."""
    earlier: dict[bytes, list[Sample]] = {}
    repeated: list[tuple[Sample, Sample]] = []
    contradicted: list[tuple[Sample, Sample]] = []
    for sample in _alike(samples):
        digest = question_digest(sample)
        if digest is None:
            continue
        before = earlier.setdefault(digest, [])
        same = next((one for one in before if _plain(one.reference) == _plain(sample.reference)), None)
        if same:
            repeated.append((same, sample))
            continue
        if other := next((one for one in before if _truth(one) != _truth(sample)), None):
            contradicted.append((other, sample))
        before.append(sample)
    remarks = []
    if repeated:
        remarks.append(
            f"{benchmark}: {len(repeated)} of {len(samples)} questions repeat an earlier one about the same image, "
            f"with the same answer (first: {_pair(repeated)}). Each counts as often as it stands there."
        )
    if contradicted:
        remarks.append(
            f"{benchmark}: {len(contradicted)} of {len(samples)} questions have another answer than an earlier row has "
            f"to the same question about the same image (first: {_pair(contradicted)}). Each counts as it stands there."
        )
    return tuple(remarks)


def _alike(samples: Sequence[Sample]) -> list[Sample]:
    """Those whose words and images' sizes another one has too: only these need be hashed."""
    looks = [(sample.messages, tuple(len(image.content) for image in sample.images)) for sample in samples]
    counts = Counter(looks)
    return [sample for sample, look in zip(samples, looks, strict=True) if counts[look] > 1]


def _truth(sample: Sample) -> Any:
    reference = sample.reference
    return [_plain(reference.get(name)) for name in _TRUTH] if isinstance(reference, dict) else _plain(reference)


def _plain(value: Any) -> Any:
    """A reference without the order of its lists: two people write the same objects in two orders."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return sorted(value, key=repr) if isinstance(value, list) else value


def _pair(found: Sequence[tuple[Sample, Sample]]) -> str:
    first, second = found[0]
    return f"{second.id}, after {first.id}"
