"""Which requests a model can be asked: one that it cannot take costs that request, and not the batch that it is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.errors import ChatTemplateError, ImageError, InputError, MmprefError, is_out_of_memory, reason_of
from mmpref.vlm.generate import PromptBatch, Request
from mmpref.vlm.special_tokens import special_token_in

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


def prepare_batch(
    policy: Policy, requests: Sequence[Request], names: Sequence[str], reuse_features: bool = False
) -> tuple[PromptBatch, list[MmprefError | None]]:
    """A batch of those requests that the model can take, and for each why it cannot.

    A prompt that holds one of the tokenizer's special tokens as text cannot be asked: it would be read as markup. Nor
    can one whose turns the chat template refuses, or whose images the processor does, such as a strip that is too long
    for it.

    Args:
        names: of the requests, for messages.
        reuse_features: as `mmpref.vlm.generate.PromptBatch` has it.
    """
    refused: list[MmprefError | None] = [_markup_error(policy, *named) for named in zip(requests, names, strict=True)]

    def accepted() -> list[Request]:
        return [request for request, error in zip(requests, refused, strict=True) if error is None]

    try:
        return PromptBatch(policy, accepted(), reuse_features), refused
    except Exception as error:  # processors raise whatever an image leads them to
        own_error = isinstance(error, MmprefError) and not isinstance(error, ImageError | ChatTemplateError)
        if own_error or is_out_of_memory(error) or not _refuse_unprepared(policy, requests, names, refused):
            raise
    return PromptBatch(policy, accepted(), reuse_features), refused


def refusal(policy: Policy, request: Request, name: str) -> MmprefError | None:
    """Why the model cannot take a request; None where it can."""
    return _markup_error(policy, request, name) or _preparation_error(policy, request, name)


def _markup_error(policy: Policy, request: Request, name: str) -> InputError | None:
    special = special_token_in(policy.markup_tokens)
    token = next(filter(None, (special(message.content) for message in request.messages)), None)
    if token is None:
        return None
    return InputError(f"{name} holds {token!r} in its text, which the model would read as markup.")


def _refuse_unprepared(
    policy: Policy, requests: Sequence[Request], names: Sequence[str], refused: list[MmprefError | None]
) -> bool:
    """Find the requests that cannot be prepared by themselves; whether there are any."""
    any_refused = False
    for number, (request, name) in enumerate(zip(requests, names, strict=True)):
        if refused[number] is None:
            refused[number] = _preparation_error(policy, request, name)
            any_refused |= refused[number] is not None
    return any_refused


def _preparation_error(policy: Policy, request: Request, name: str) -> InputError | None:
    if request.prepared is not None:
        return None
    try:
        policy.prompter.prepare(request.messages, request.images)
    except ImageError as error:
        return ImageError(f"{name}: {error.message}")
    except ChatTemplateError as error:
        return ChatTemplateError(f"{name}: {error.message}", error.hint)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return ImageError(f"{name}: the model's processor refuses it: {reason_of(error)[:300].rstrip('.')}.")
    return None
