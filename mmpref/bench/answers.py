"""Answers to a benchmark's samples: batched, those about one image together; kept on disk as they come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mmpref.bench.benchmark import Sample
from mmpref.bench.rows import seen
from mmpref.distributed import num_processes, process_index
from mmpref.errors import ImageError, MmprefError, ModelError
from mmpref.reasoning import MARKERS, Markers
from mmpref.run.files import JsonLines
from mmpref.run.results import BASE

if TYPE_CHECKING:
    from PIL import Image

    from mmpref.vlm.generate import Request
    from mmpref.vlm.policy import Policy

Blind = Literal["no-image", "masked"]
"""The image-blind control: the prompt has no image at all, or all of its image tokens are hidden (BDHS with rho 1)."""


class Answerer(Protocol):
    """Who is evaluated: decodes greedily, up to so many tokens."""

    def __call__(
        self, samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        """For each of the models (``base``, ``adapter``) an answer to each sample, in order, or why there is none:
        without its image a question is not asked."""
        ...


def loaded(policy: Callable[[], Policy], blind: Blind | None, known: Markers = MARKERS) -> Answerer:
    """A model on this machine. Questions about one image share what they can, and so do base and adapter
    (`mmpref.vlm.generate`).

    Args:
        policy: loads it, once.
        blind: how the images are kept from the model. Each must be readable all the same, so that a blind run is over
            the samples of the sighted one.
        known: markers of reasoning; they stay in the answers, and one that the prompt opens is put before them.
    """

    def answer(
        samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        from mmpref.vlm.decoding import MODEL, Decoding
        from mmpref.vlm.generate import Request
        from mmpref.vlm.request_checks import ask, why_not

        decoded: dict[bytes, Image.Image] = {}

        def request(sample: Sample) -> Request | MmprefError:
            if sample.image is None:
                return Request(sample.messages, ())
            content = sample.image.content
            try:
                image = decoded.get(content) or decoded.setdefault(content, seen(sample.image))
            except ImageError as error:
                return error
            asked = Request(sample.messages, (image,))
            if blind != "no-image":
                return asked
            return why_not(policy(), asked, sample.image.name) or Request(sample.messages, ())

        requests = [request(sample) for sample in samples]
        names = [sample.image.name if sample.image else f"question {sample.id}" for sample in samples]
        fine = [(one, name) for one, name in zip(requests, names, strict=True) if not isinstance(one, MmprefError)]
        asked, refused = ask(policy(), [one for one, _ in fine], [name for _, name in fine], again=len(models) > 1)
        whys = iter(refused)
        reasons = [one if isinstance(one, MmprefError) else next(whys) for one in requests]
        found: dict[str, list[str | MmprefError]] = {}
        for model in models:
            with policy().without_adapter() if model == BASE else contextlib.nullcontext():
                decoding = Decoding(max_new_tokens, repetition_penalty=MODEL)
                answers = asked.write(decoding, hide_images=blind == "masked", width=max(1, len(fine)), known=known)
                made = iter(answers)
            found[model] = [next(made).text if why is None else why for why in reasons]
        return found

    return answer


def served(url: str, model: str, concurrency: int, sees: bool = True) -> Answerer:
    """A model behind an OpenAI-compatible endpoint (vLLM, `transformers serve`), the base; a request that fails has no
    answer.

    Args:
        sees: images are sent; if not, they must be readable all the same.
    """
    from mmpref.judges.chat import ChatSettings, Query, Reply
    from mmpref.judges.endpoint import Endpoint

    @cache
    def endpoint(max_new_tokens: int) -> Endpoint:
        return Endpoint(url, model, ChatSettings(0.0, max_new_tokens, concurrency))

    def answer(
        samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        def query(sample: Sample) -> Query | ImageError:
            images = () if sample.image is None else (sample.image,)
            try:
                for image in images:
                    seen(image)
            except ImageError as error:
                return error
            return Query(sample.messages, images if sees else ())

        def read(reply: Reply) -> str | ModelError:
            # Some servers hand on the space that templates put before an answer.
            text = None if reply.text is None else reply.text.strip()
            if reply.cut and not text:  # what it wrote was reasoning, which the server keeps to itself
                return ModelError(
                    f"{model} gave no answer: its limit of {max_new_tokens} tokens came first.",
                    "Let it write more with the benchmark's setting max_new_tokens.",
                )
            return ModelError(f"{model} gave no answer: {reply.error}") if text is None else text

        queries = [query(sample) for sample in samples]
        said = iter(endpoint(max_new_tokens).ask([one for one in queries if not isinstance(one, ImageError)]))
        return {BASE: [one if isinstance(one, ImageError) else read(next(said)) for one in queries]}

    return answer


def answer_all(
    answerer: Answerer,
    samples: Sequence[Sample],
    max_new_tokens: int,
    kept: Mapping[str, Path],
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> dict[str, list[str | MmprefError]]:
    """The answers of each model in order, or why there is none. Those already in ``kept`` (JSON lines, a file for each
    model, and one more for each further process) stay; a sample that one model lacks is asked of all of them."""
    answers: dict[str, dict[str, str | MmprefError]] = {model: {**_known(path)} for model, path in kept.items()}
    _ask(answerer, _open(samples, answers), max_new_tokens, kept, answers, batch_size, progress)
    return {model: [own[sample.id] for sample in samples] for model, own in answers.items()}


def share_of(samples: Sequence[Sample], kept: Mapping[str, Path]) -> list[Sample]:
    """This process's part of what is open, of several processes, by image. All of them have to look before any of them
    writes."""
    left = _open(samples, {model: _known(path) for model, path in kept.items()})
    images = list(dict.fromkeys(sample.image_id for sample in left))
    own = set(images[process_index() :: num_processes()])
    return [sample for sample in left if sample.image_id in own]


def answer_share(
    answerer: Answerer,
    share: Sequence[Sample],
    max_new_tokens: int,
    kept: Mapping[str, Path],
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Answer one process's part, into files of its own beside ``kept``.

    What has no answer is left to whoever calls `answer_all` when the processes are done.
    """
    own = {model: path.with_name(f"{path.name}.{process_index()}") for model, path in kept.items()}
    _ask(answerer, share, max_new_tokens, own, {model: {} for model in kept}, batch_size, progress)


def _open(samples: Sequence[Sample], answers: Mapping[str, Mapping[str, Any]]) -> list[Sample]:
    """Samples that some model has not answered."""
    return [sample for sample in samples if any(sample.id not in own for own in answers.values())]


def _ask(
    answerer: Answerer,
    samples: Sequence[Sample],
    max_new_tokens: int,
    kept: Mapping[str, Path],
    answers: Mapping[str, dict[str, str | MmprefError]],
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Ask about samples, and add the answers to those that there are."""
    todo = _in_order(samples)
    with contextlib.ExitStack() as stack:
        append = {model: stack.enter_context(JsonLines(path).appending()) for model, path in kept.items()}
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            for model, said in answerer(batch, max_new_tokens, list(kept)).items():
                for sample, answer in zip(batch, said, strict=True):
                    if sample.id in answers[model]:
                        continue
                    answers[model][sample.id] = answer
                    if isinstance(answer, str):
                        append[model]({"id": sample.id, "answer": answer})
            if progress:
                progress(len(batch) * len(kept))


def _in_order(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of one image together; the longest prompts first, so that too little memory shows at once."""
    images: dict[str, list[Sample]] = {}
    for sample in samples:
        images.setdefault(sample.image_id, []).append(sample)

    def length(group: Sequence[Sample]) -> int:
        return max(sum(len(message.content) for message in sample.messages) for sample in group)

    return [sample for group in sorted(images.values(), key=length, reverse=True) for sample in group]


def _known(kept: Path) -> dict[str, str]:
    """The answers that earlier sessions kept, in whichever process."""
    rows = [row for path in (kept, *sorted(kept.parent.glob(f"{kept.name}.*"))) for row in JsonLines(path).rows()]
    return {row["id"]: row["answer"] for row in rows}
