"""Answers to a benchmark's samples: batched, kept on disk as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmpref.bench.benchmark import Sample
from mmpref.errors import ImageError
from mmpref.images import decode
from mmpref.run import disk_errors

if TYPE_CHECKING:
    from mmpref.vlm.decode import Decoding
    from mmpref.vlm.policy import Policy

Blind = Literal["no-image", "masked"]
"""The image-blind control: the prompt has no image at all, or all of its image tokens are hidden (BDHS with rho 1)."""


def answer_all(
    policy: Callable[[], Policy],
    samples: Sequence[Sample],
    decoding: Decoding,
    kept: Path,
    batch_size: int,
    progress: Callable[[int], None] | None,
    blind: Blind | None = None,
) -> list[str | ImageError]:
    """Answers in order, or why there is none: without its image a question is not asked.

    Args:
        blind: how the images are kept from the model. Each must be readable all the same, so that a blind run is over
            the samples of the sighted one.

    Those already in ``kept`` (JSON lines) are not asked for again.
    """
    from mmpref.vlm.policy import Request

    answers: dict[str, str | ImageError] = {row["id"]: row["answer"] for row in kept_lines(kept)}
    todo = [sample for sample in samples if sample.id not in answers]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(kept), open(kept, "a", encoding="utf-8") as file:
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            requests: dict[str, Request] = {}
            for sample in batch:
                try:
                    images = () if sample.image is None else (decode(sample.image),)
                    requests[sample.id] = Request(sample.messages, () if blind == "no-image" else images)
                except ImageError as error:
                    answers[sample.id] = error
            if requests:
                made = policy().generate(list(requests.values()), decoding, batch_size=batch_size,
                                         hide_images=blind == "masked")  # fmt: skip
                for name, answer in zip(requests, made, strict=True):
                    answers[name] = answer
                    file.write(json.dumps({"id": name, "answer": answer}) + "\n")
            file.flush()
            if progress:
                progress(len(batch))
    return [answers[sample.id] for sample in samples]


def kept_lines(kept: Path) -> list[dict[str, str]]:
    """The rows that an earlier run kept; a last line that was cut off is dropped from the file."""
    if not kept.is_file():
        return []
    rows, good = [], []
    for line in kept.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        rows.append(json.loads(line))
        good.append(line)
    kept.write_text("".join(good), encoding="utf-8")
    return rows
