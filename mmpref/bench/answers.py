"""Answers to a benchmark's samples: batched, those about one image together; written to disk as they come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mmpref.bench.benchmark import Sample
from mmpref.bench.cells import decoded_image
from mmpref.distributed import num_processes, process_index
from mmpref.errors import ImageError, MmprefError, ModelError
from mmpref.run.files import JsonLines

Progress = Callable[[int], None]
"""Told how many samples were answered."""


class Answerer(Protocol):
    """Who is evaluated: decodes greedily, up to so many tokens."""

    def __call__(
        self, samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        """For each of the models (``base``, ``adapter``) an answer to each sample, in order, or why there is none:
        without its image a question is not asked."""
        ...


@runtime_checkable
class WorksAhead(Protocol):
    """An answerer that can begin with samples before they are asked about."""

    def begin(self, samples: Sequence[Sample]) -> None:
        """Start on samples that will be asked about soon, together."""
        ...


def endpoint_answerer(endpoints: Mapping[str, tuple[str, str]], concurrency: int, send_images: bool = True) -> Answerer:
    """Models behind OpenAI-compatible endpoints (vLLM, `transformers serve`); a request that fails has no answer.

    Args:
        endpoints: URL and name of each of the models (``base``, ``adapter``).
        send_images: if not, they must be readable all the same.
    """
    from mmpref.judges.chat import ChatSettings, Query, Reply
    from mmpref.judges.endpoint import Endpoint

    @cache
    def endpoint(model: str, max_new_tokens: int) -> Endpoint:
        return Endpoint(*endpoints[model], ChatSettings(0.0, max_new_tokens, concurrency))

    def answer(
        samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        def query(sample: Sample) -> Query | ImageError:
            try:
                for image in sample.images:
                    decoded_image(image)
            except ImageError as error:
                return error
            return Query(sample.messages, sample.images if send_images else ())

        def read(reply: Reply, model: str) -> str | ModelError:
            # Some servers hand on the space that templates put before an answer.
            text = None if reply.text is None else reply.text.strip()
            if reply.cut and not text:  # what it wrote was reasoning, which the server keeps to itself
                return ModelError(
                    f"{model} gave no answer: its limit of {max_new_tokens} tokens came first.",
                    "Let it write more with the benchmark's setting max_new_tokens.",
                )
            return ModelError(f"{model} gave no answer: {reply.error}") if text is None else text

        queries = [query(sample) for sample in samples]
        valid = [query for query in queries if not isinstance(query, ImageError)]
        answers: dict[str, list[str | MmprefError]] = {}
        for model in models:
            replies, (_, name) = iter(endpoint(model, max_new_tokens).ask(valid)), endpoints[model]
            answers[model] = [
                query if isinstance(query, ImageError) else read(next(replies), name) for query in queries
            ]
        return answers

    return answer


def answer_all(
    answerer: Answerer,
    samples: Sequence[Sample],
    max_new_tokens: int,
    files: Mapping[str, Path],
    batch_size: int,
    progress: Progress | None,
) -> dict[str, list[str | MmprefError]]:
    """The answers of each model in order, or why there is none. Those already in ``files`` (JSON lines, a file for each
    model, and one more for each further process) stay; a sample that one model lacks is asked of all of them."""
    answers: dict[str, dict[str, str | MmprefError]] = {model: {**_read_answers(file)} for model, file in files.items()}
    left = _unanswered(samples, answers)
    _answer_batches(answerer, left, max_new_tokens, files, answers, batch_size, progress)
    return {model: [own[sample.id] for sample in samples] for model, own in answers.items()}


def unanswered(samples: Sequence[Sample], files: Mapping[str, Path]) -> list[Sample]:
    """Samples that some model has not answered in any process's file."""
    return _unanswered(samples, {model: _read_answers(file) for model, file in files.items()})


def unanswered_shard(samples: Sequence[Sample], files: Mapping[str, Path]) -> list[Sample]:
    """This process's part of what is unanswered, of several processes, by image. All of them have to look before any of
    them writes."""
    left = unanswered(samples, files)
    images = list(dict.fromkeys(sample.image_id for sample in left))
    own = set(images[process_index() :: num_processes()])
    return [sample for sample in left if sample.image_id in own]


def answer_shard(
    answerer: Answerer,
    shard: Sequence[Sample],
    max_new_tokens: int,
    files: Mapping[str, Path],
    batch_size: int,
    progress: Progress | None,
) -> None:
    """Answer one process's part, into files of its own beside ``files``.

    What has no answer is left to whoever calls `answer_all` when the processes are done.
    """
    own = {model: file.with_name(f"{file.name}.{process_index()}") for model, file in files.items()}
    _answer_batches(answerer, shard, max_new_tokens, own, {model: {} for model in files}, batch_size, progress)


def _unanswered(samples: Sequence[Sample], answers: Mapping[str, Mapping[str, Any]]) -> list[Sample]:
    """Samples that some model has not answered."""
    return [sample for sample in samples if any(sample.id not in own for own in answers.values())]


def _answer_batches(
    answerer: Answerer,
    samples: Sequence[Sample],
    max_new_tokens: int,
    files: Mapping[str, Path],
    answers: Mapping[str, dict[str, str | MmprefError]],
    batch_size: int,
    progress: Progress | None,
) -> None:
    """Ask about samples, and add the answers to those that there are."""
    ordered = _by_image(samples)
    with contextlib.ExitStack() as stack:
        append = {model: stack.enter_context(JsonLines(file).appending()) for model, file in files.items()}
        for batch in _begun_ahead(answerer, ordered, batch_size):
            for model, replies in answerer(batch, max_new_tokens, list(files)).items():
                for sample, answer in zip(batch, replies, strict=True):
                    if sample.id in answers[model]:
                        continue
                    answers[model][sample.id] = answer
                    if isinstance(answer, str):
                        append[model]({"id": sample.id, "answer": answer})
            if progress:
                progress(len(batch) * len(files))


def _begun_ahead(answerer: Answerer, samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    """The samples in batches, each when the answerer has begun with it and with the next one."""
    batches = [samples[start : start + size] for start in range(0, len(samples), size)]
    for number, batch in enumerate(batches):
        if isinstance(answerer, WorksAhead):
            for begun in batches[number + (number > 0) : number + 2]:
                answerer.begin(begun)
        yield batch


def _by_image(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of one image together; the longest prompts first, so that too little memory shows at once."""
    images: dict[str, list[Sample]] = {}
    for sample in samples:
        images.setdefault(sample.image_id, []).append(sample)

    def length(group: Sequence[Sample]) -> int:
        return max(sum(len(message.content) for message in sample.messages) for sample in group)

    return [sample for group in sorted(images.values(), key=length, reverse=True) for sample in group]


def _read_answers(file: Path) -> dict[str, str]:
    """The answers that earlier sessions wrote, in whichever process."""
    rows = [row for path in (file, *sorted(file.parent.glob(f"{file.name}.*"))) for row in JsonLines(path).rows()]
    return {row["id"]: row["answer"] for row in rows}
