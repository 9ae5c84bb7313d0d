"""A vision-language model in this process that is asked in words, or for the probability of a yes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmpref.errors import ImageError, MmprefError
from mmpref.images import decode
from mmpref.judges.chat import ChatSettings, OnReply, Query, Reply
from mmpref.reasoning import markers
from mmpref.types import Message

if TYPE_CHECKING:
    from mmpref.vlm.generate import Answer, Request
    from mmpref.vlm.policy import Policy

_BATCH_SIZE = 8
_REQUEST_NAME = "what is asked"


class LocalChat:
    """A policy as a chat model.

    Args:
        policy: loads the model, on first use.
        name: what it is called, such as ``me/vlm@main``.
        ready: raises ModelError where there is no such model, without loading it.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        name: str,
        settings: ChatSettings | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._policy, self._name, self.ready = policy, name, ready
        self._settings = settings or ChatSettings()

    @property
    def policy(self) -> Policy:
        return self._policy()

    @property
    def identity(self) -> Mapping[str, Any]:
        s, policy = self._settings, self.policy
        return {
            "model": self._name,
            "revision": policy.ref.revision,
            "dtype": str(policy.dtype),
            "temperature": s.temperature,
            "max_tokens": s.max_tokens,
        }

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        from mmpref.vlm.decoding import MODEL, Decoding
        from mmpref.vlm.generate import Request
        from mmpref.vlm.request_checks import prepare_batch

        s = self._settings
        decoding = Decoding(s.max_tokens, s.temperature == 0, s.temperature or 1.0, MODEL, MODEL, MODEL, seed=0)
        known = markers(s.thinking)
        replies: list[Reply] = []
        for start in range(0, len(queries), _BATCH_SIZE):
            batch = queries[start : start + _BATCH_SIZE]
            requests: list[Request | MmprefError] = [_request(query) for query in batch]
            readable = [request for request in requests if isinstance(request, Request)]
            asked, refusals = prepare_batch(self.policy, readable, [_REQUEST_NAME] * len(readable))
            answers = iter(asked.generate(decoding, width=_BATCH_SIZE, keep_markers=known))
            errors = iter(refusals)
            for request in requests:
                error = request if isinstance(request, MmprefError) else next(errors)
                reply = Reply(None, str(error)) if error else _reply(next(answers))
                if on_reply:
                    on_reply(len(replies), reply)
                replies.append(reply)
        return replies

    @property
    def reasons_first(self) -> bool:
        """Whether its prompt format opens a block of reasoning, so that no answer begins with a yes."""
        from mmpref.vlm.detokenize import Detokenizer

        return bool(Detokenizer(self.policy, markers(self._settings.thinking)).opened)

    def yes(self, queries: Sequence[Query]) -> list[float | None]:
        """The probability that the answer begins with yes rather than no; None where an image cannot be seen or a
        text cannot be asked.

        Over the first token's Yes and yes against No and no, as RLAIF-V scores claims (arXiv 2405.17220).
        """
        import torch

        from mmpref.vlm.attention import Attention
        from mmpref.vlm.encode import encode
        from mmpref.vlm.request_checks import refusal

        policy, prepared = self.policy, list[tuple[int, Any]]()
        for number, query in enumerate(queries):
            request = _request(query)
            if isinstance(request, ImageError) or refusal(policy, request, _REQUEST_NAME):
                continue
            prepared.append((number, policy.prompter.prepare(request.messages, request.images)))
        yes_tokens, no_tokens = (_first_tokens(policy, words) for words in (("Yes", "yes"), ("No", "no")))
        probabilities: list[float | None] = [None] * len(queries)
        attention = Attention(policy)
        for start in range(0, len(prepared), _BATCH_SIZE):
            batch = prepared[start : start + _BATCH_SIZE]
            with torch.inference_mode():
                contexts = encode(policy, [inputs for _, inputs in batch])
                for (number, _), context in zip(batch, contexts, strict=True):
                    hidden, _ = attention.prefill([context], [()])
                    probs = policy.head(hidden[0][len(context.embeds) - 1]).float().softmax(-1)
                    yes, no = probs[yes_tokens].sum().item(), probs[no_tokens].sum().item()
                    probabilities[number] = yes / (yes + no) if yes + no > 0 else None
        return probabilities


def _reply(answer: Answer) -> Reply:
    return Reply(answer.text, cut=answer.cut)


def _request(query: Query) -> Request | ImageError:
    from mmpref.vlm.generate import Request

    try:
        images = tuple(decode(image) for image in query.images)
    except ImageError as error:
        return error
    # The words name the stream: what else is asked beside them changes no answer.
    return Request(query.messages, images, (query.repeat, *(message.content for message in query.messages)))


def _first_tokens(policy: Policy, words: Sequence[str]) -> list[int]:
    """What an answer of each word begins with, in the model's own prompt format."""
    tokens = []
    for word in words:
        answer = policy.written_answer((Message("user", "?"),), 0, word)
        tokens.append(answer.ids[answer.first])
    return sorted(set(tokens))
