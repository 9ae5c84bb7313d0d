"""Answers of a model on this machine. Questions about one image share what they can, and so do base and adapter."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from mmpref.bench.benchmark import Sample
from mmpref.bench.cells import decoded_image
from mmpref.bench.recipe import BlindMode
from mmpref.errors import ChatTemplateError, ImageError, MmprefError
from mmpref.reasoning import MARKERS, Markers
from mmpref.run.results import BASE
from mmpref.types import ImageData
from mmpref.workers import default_workers

if TYPE_CHECKING:
    from PIL import Image

    from mmpref.vlm.generate import Request
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.preprocessing_pool import ImagePrompts, PreprocessingPool


class LocalAnswerer:
    """A model on this machine (`mmpref.vlm.generate`).

    Args:
        policy: loads it, once.
        blind: how the images are kept from the model. Each must be readable all the same, so that a blind run is over
            the samples of the sighted one.
        markers: of reasoning; they stay in the answers, and one that the prompt opens is put before them.
        workers: processes that decode and preprocess images ahead of the model; by default
            `mmpref.workers.default_workers`. Answers do not depend on it.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        blind: BlindMode | None,
        markers: Markers = MARKERS,
        workers: int | None = 0,
    ) -> None:
        self._policy, self._blind, self._markers, self._workers = policy, blind, markers, workers

    @cached_property
    def _pool(self) -> PreprocessingPool:
        from mmpref.vlm.preprocessing_pool import PreprocessingPool

        policy, workers = self._policy(), self._workers
        return PreprocessingPool(
            policy.prompter, default_workers(policy.device.type != "cpu") if workers is None else workers
        )

    def begin(self, samples: Sequence[Sample]) -> None:
        """Start to preprocess samples that will be asked about together."""
        if self._workers != 0 and self._pool.workers:
            self._pool.begin_all([prompts for prompts, _ in _by_content(samples)])

    def close(self) -> None:
        """End the worker processes."""
        if "_pool" in self.__dict__:
            self._pool.close()

    def __call__(
        self, samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        from mmpref.vlm.decoding import MODEL, Decoding
        from mmpref.vlm.generate import Request
        from mmpref.vlm.request_checks import prepare_batch

        policy = self._policy()
        requests = self._requests(samples)
        pairs = zip(requests, samples, strict=True)
        valid = [(request, sample.name) for request, sample in pairs if isinstance(request, Request)]
        batch, refused = prepare_batch(
            policy, [request for request, _ in valid], [name for _, name in valid], reuse_features=len(models) > 1
        )
        refusals = iter(refused)
        errors = [request if isinstance(request, MmprefError) else next(refusals) for request in requests]
        replies: dict[str, list[str | MmprefError]] = {}
        for model in models:
            with policy.without_adapter() if model == BASE else contextlib.nullcontext():
                decoding = Decoding(max_new_tokens, repetition_penalty=MODEL)
                answers = batch.generate(
                    decoding,
                    hide_images=self._blind == "masked",
                    width=max(1, len(valid)),
                    keep_markers=self._markers,
                )
                texts = (answer.text for answer in answers)
                replies[model] = [next(texts) if error is None else error for error in errors]
        return replies

    def _requests(self, samples: Sequence[Sample]) -> list[Request | MmprefError]:
        """What the model is asked of each sample, or why it cannot be asked."""
        from mmpref.vlm.generate import Request
        from mmpref.vlm.request_checks import refusal

        ahead = self._prepared_ahead(samples)
        decoded: dict[bytes, Image.Image] = {}

        def picture(image: ImageData) -> Image.Image:
            return decoded.get(image.content) or decoded.setdefault(image.content, decoded_image(image))

        def sighted(sample: Sample) -> Request | ImageError:
            try:
                return Request(sample.messages, tuple(map(picture, sample.images)))
            except ImageError as error:
                return error

        def request(sample: Sample) -> Request | MmprefError:
            if not sample.images:
                return Request(sample.messages, ())
            made = ahead.get(id(sample)) or sighted(sample)
            if isinstance(made, ImageError) or self._blind != "no-image":
                return made
            return refusal(self._policy(), made, sample.name) or Request(sample.messages, ())

        return [request(sample) for sample in samples]

    def _prepared_ahead(self, samples: Sequence[Sample]) -> dict[int, Request | ImageError]:
        """What worker processes made of samples, by the samples' `id`. Those about an image with which something is
        wrong are left to this process, which says what it is; but for one that ended its process."""
        if self._workers == 0 or not self._pool.workers:
            return {}
        from PIL import Image

        from mmpref.vlm.generate import Request
        from mmpref.vlm.preprocessing_pool import DeadlyImageError

        ahead: dict[int, Request | ImageError] = {}
        for prompts, about in _by_content(samples):
            try:
                made = self._pool.prepare_all(prompts)
            except DeadlyImageError:
                for sample in about:
                    ahead[id(sample)] = ImageError(f"{sample.name} ends the process that preprocesses it.")
            except MmprefError as error:
                if not isinstance(error, ImageError | ChatTemplateError):
                    raise
            except Exception:  # processors raise whatever a prompt leads them to, and do so here again
                continue
            else:
                stand_in = (Image.new("RGB", (1, 1)),)
                for sample, inputs in zip(about, made, strict=True):
                    ahead[id(sample)] = Request(sample.messages, stand_in, prepared=inputs)
        return ahead


def _by_content(samples: Sequence[Sample]) -> list[tuple[ImagePrompts, list[Sample]]]:
    """What is asked about equal images, and the samples that ask it."""
    from mmpref.vlm.preprocessing_pool import ImagePrompts

    groups: dict[tuple[bytes, ...], list[Sample]] = {}
    for sample in samples:
        contents = tuple(image.content for image in sample.images)
        if contents and all(contents):
            groups.setdefault(contents, []).append(sample)
    return [
        (ImagePrompts(tuple(map(ImageData, contents)), tuple(sample.messages for sample in about)), about)
        for contents, about in groups.items()
    ]
