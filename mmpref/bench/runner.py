"""Answers to a benchmark's samples: batched, kept on disk as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from mmpref.bench.benchmark import Sample
from mmpref.errors import ImageError, MmprefError, ModelError
from mmpref.images import decode
from mmpref.run import disk_errors

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy, Request

Blind = Literal["no-image", "masked"]
"""The image-blind control: the prompt has no image at all, or all of its image tokens are hidden (BDHS with rho 1)."""


class Answerer(Protocol):
    """Who is evaluated: decodes greedily, up to so many tokens."""

    def __call__(self, samples: Sequence[Sample], max_new_tokens: int) -> list[str | MmprefError]:
        """An answer to each, in order, or why there is none: without its image a question is not asked."""
        ...


def loaded(policy: Callable[[], Policy], blind: Blind | None, batch_size: int) -> Answerer:
    """A model on this machine.

    Args:
        policy: loads it, once.
        blind: how the images are kept from the model. Each must be readable all the same, so that a blind run is over
            the samples of the sighted one.
    """

    def answer(samples: Sequence[Sample], max_new_tokens: int) -> list[str | MmprefError]:
        from mmpref.vlm.decode import Decoding
        from mmpref.vlm.policy import Request

        def request(sample: Sample) -> Request | ImageError:
            try:
                images = () if sample.image is None else (decode(sample.image),)
            except ImageError as error:
                return error
            return Request(sample.messages, () if blind == "no-image" else images)

        requests = [request(sample) for sample in samples]
        asked = [one for one in requests if not isinstance(one, ImageError)]
        made = iter(policy().generate(asked, Decoding(max_new_tokens), batch_size=batch_size,
                                      hide_images=blind == "masked") if asked else [])  # fmt: skip
        return [one if isinstance(one, ImageError) else next(made) for one in requests]

    return answer


def served(url: str, model: str, concurrency: int, sees: bool = True) -> Answerer:
    """A model behind an OpenAI-compatible endpoint (vLLM, `transformers serve`); a request that fails has no answer.

    Args:
        sees: images are sent; if not, they must be readable all the same.
    """
    from mmpref.judges.chat import ChatSettings, Query, Reply
    from mmpref.judges.endpoint import Endpoint

    @cache
    def endpoint(max_new_tokens: int) -> Endpoint:
        return Endpoint(url, model, ChatSettings(0.0, max_new_tokens, concurrency))

    def answer(samples: Sequence[Sample], max_new_tokens: int) -> list[str | MmprefError]:
        def query(sample: Sample) -> Query | ImageError:
            images = () if sample.image is None else (sample.image,)
            try:
                for image in images:
                    decode(image)
            except ImageError as error:
                return error
            return Query(sample.messages, images if sees else ())

        def read(reply: Reply) -> str | ModelError:
            # Some servers hand on the space that templates put before an answer.
            return ModelError(f"{model} gave no answer: {reply.error}") if reply.text is None else reply.text.strip()

        queries = [query(sample) for sample in samples]
        said = iter(endpoint(max_new_tokens).ask([one for one in queries if not isinstance(one, ImageError)]))
        return [one if isinstance(one, ImageError) else read(next(said)) for one in queries]

    return answer


def answer_all(
    answerer: Answerer,
    samples: Sequence[Sample],
    max_new_tokens: int,
    kept: Path,
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> list[str | MmprefError]:
    """Answers in order, or why there is none. Those already in ``kept`` (JSON lines) are not asked for again."""
    answers: dict[str, str | MmprefError] = {row["id"]: row["answer"] for row in kept_lines(kept)}
    todo = [sample for sample in samples if sample.id not in answers]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(kept), open(kept, "a", encoding="utf-8") as file:
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            for sample, answer in zip(batch, answerer(batch, max_new_tokens), strict=True):
                answers[sample.id] = answer
                if isinstance(answer, str):
                    file.write(json.dumps({"id": sample.id, "answer": answer}) + "\n")
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
