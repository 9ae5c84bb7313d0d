"""A policy behind an OpenAI-compatible server, which writes answers: vLLM, `transformers serve`, or another.

It is asked for what a policy in this process would do: every setting of the decoding is sent, none is left to the
server's own ``generation_config``, and each request has a seed of its own, drawn from the run's. What draws an answer
is the server's all the same: its kernels, its random numbers, its batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmpref.counts import Counts
from mmpref.errors import UsageError
from mmpref.judges.chat import ChatSettings, Query, Reply, count_usage
from mmpref.judges.endpoint import Endpoint
from mmpref.judges.resolve import endpoint_of
from mmpref.reasoning import read
from mmpref.rng import stream
from mmpref.vlm.decoding import MODEL, OFF

if TYPE_CHECKING:
    from mmpref.types import Example
    from mmpref.vlm.decoding import Decoding
    from mmpref.vlm.generate import Answer
    from mmpref.vlm.writer import Noise

PREFIX = "server_"
"""Of what is counted of a server's work, among the notes of a run."""
_TIMEOUT = 600.0
"""Seconds for an answer: long ones wait in a busy server's queue."""
_SEEDS = 2**31


def refuse_loading(
    model: str, *, revision: str | None = None, quantization: str | None = None, device_map: str | None = None
) -> None:
    """Refuse what says how a model is loaded, of one behind an endpoint.

    Raises:
        UsageError: there is such a thing.
    """
    if revision:
        raise UsageError(
            f"{model} is a model behind an endpoint, which has no revision here.", "Its server decides what it serves."
        )
    if quantization or device_map:
        raise UsageError(f"{model} is a model behind an endpoint: it is loaded as its server was told.")


def refuse_served(spec: Any, why: str) -> None:
    """Refuse a model behind an endpoint where the model itself is needed.

    Args:
        why: what it is needed for, as a clause. A loaded model, which is no text, is fine.

    Raises:
        UsageError: it is one.
    """
    if isinstance(spec, str) and endpoint_of(spec):
        raise UsageError(
            f"{spec} is a model behind an endpoint, which gives texts only, and {why}.",
            "Load the model here: give its Hub id or folder.",
        )


class ServedWriter:
    """A model behind an endpoint as `mmpref.vlm.writer.Writer`. A request that fails gives an answer with an error.

    Args:
        url, model: as of `Endpoint`.
        concurrency: requests in flight at a time.

    Raises:
        ModelError: nobody answers at the URL.
    """

    def __init__(self, url: str, model: str, concurrency: int = 8) -> None:
        self._url, self._model, self._concurrency = url, model, concurrency
        self._counts = Counts()
        self._endpoints: dict[ChatSettings, Endpoint] = {}
        Endpoint(url, model).ready()

    @property
    def works_ahead(self) -> bool:
        return False

    def begin(self, examples: Sequence[Example]) -> None:
        """Nothing: images are preprocessed by the server."""

    def generate(self, examples: Sequence[Example], decoding: Decoding, noise: Noise | None = None) -> list[Answer]:
        if noise is not None:
            raise UsageError("A served model cannot be shown noisy pixel values.", "Load the model here.")
        seeds = [_seed(decoding, example, 1, "answer") for example in examples]
        return self._write(examples, seeds, decoding)

    def sample(self, examples: Sequence[Example], decoding: Decoding, samples: int) -> list[list[Answer]]:
        repeated = [example for example in examples for _ in range(samples)]
        seeds = [_seed(decoding, example, number, "sample") for example in examples for number in range(samples)]
        answers = self._write(repeated, seeds, decoding)
        return [answers[start : start + samples] for start in range(0, len(answers), samples)]

    def notes(self) -> dict[str, float]:
        """`mmpref.judges.chat.count_usage` of the requests, and for each parameter that the server does not take how
        many were ``without`` it; the names begin with `PREFIX`."""
        return {PREFIX + name: value for name, value in self._counts.take().items()}

    def close(self) -> None:
        """Nothing was started."""

    def _write(self, examples: Sequence[Example], seeds: Sequence[int | None], decoding: Decoding) -> list[Answer]:
        endpoint = self._endpoint(chat_settings(decoding, self._concurrency))
        queries = [
            Query(example.prompt, example.images, seed=seed) for example, seed in zip(examples, seeds, strict=True)
        ]
        replies = endpoint.ask(queries)
        self._counts.add(count_usage(replies))
        for name in endpoint.not_sent(seeds[0] if seeds else None):
            self._counts.add({f"without_{name}": len(queries)})
        return [_answer(reply) for reply in replies]

    def _endpoint(self, settings: ChatSettings) -> Endpoint:
        """One for all blocks, so that failures in a row are counted over them."""
        if settings not in self._endpoints:
            self._endpoints[settings] = Endpoint(self._url, self._model, settings)
        return self._endpoints[settings]


def chat_settings(decoding: Decoding, concurrency: int = 8) -> ChatSettings:
    """How a server is asked to decode.

    Raises:
        UsageError: a setting is the model's own, which nobody here knows.
    """
    values = {name: getattr(decoding, name) for name in OFF}
    if decoding.greedy:  # What only samples says nothing, and temperature 0 is the most probable token.
        values |= {"temperature": 0.0, "top_p": None, "top_k": None}
    if own := next((name for name, value in values.items() if value == MODEL), None):
        raise UsageError(
            f"{own} is 'model', and of a served model nobody here knows its generation_config.",
            f"Name a number: {own}={OFF[own]:g}",
        )
    return ChatSettings(
        max_tokens=decoding.max_new_tokens, concurrency=concurrency, timeout=_TIMEOUT, exact=True, **values
    )


def _seed(decoding: Decoding, example: Example, number: int, kind: str) -> int | None:
    """By the names of the stream that a policy in this process would draw from; none where nothing is drawn."""
    if decoding.greedy:
        return None
    return int(stream(decoding.seed, example.id, number, kind).integers(_SEEDS))


def _answer(reply: Reply) -> Answer:
    from mmpref.vlm.generate import Answer

    if reply.text is None:
        return Answer("", False, reply.error or "no answer")
    # Some servers hand on the space that templates put before an answer.
    parsed = read(reply.text.strip())
    return Answer(parsed.answer or "", reply.cut or parsed.answer is None)
