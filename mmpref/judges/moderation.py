"""A server's refusal of one request for its content, told from one of whoever asks: both may be HTTP 403.

By what stands in the body: OpenRouter's ``metadata`` (``reasons``, ``flagged_input``), codes of OpenAI and of Azure
(``content_policy_violation``, ``content_filter``, ``ResponsibleAIPolicyViolation``), DashScope
(``DataInspectionFailed``) and Google (``PROHIBITED_CONTENT``), and the words of xAI
("violates usage guidelines", ``SAFETY_CHECK_...``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_CONTENT = re.compile(
    r"moderat|flagged|content[\s_-]*(?:policy|policies|filter|management|safety)|usage (?:guideline|polic)"
    r"|safety[\s_-]*(?:check|system|polic|filter|setting)|responsible\s*ai|data_?inspection|prohibited_content"
    r"|(?:inappropriate|harmful|unsafe) content",
    re.IGNORECASE,
)
_CALLER = re.compile(r"account|organi[sz]ation|api[\s_-]?key|suspend|deactivat|banned", re.IGNORECASE)
"""Words of refusals of whoever asks, be it for what was asked before."""
_SAID = ("code", "type", "message", "msg", "reason", "status")
_INSIDE = ("error", "innererror", "inner_error", "metadata", "details", "detail")


def is_moderated(error: BaseException) -> bool:
    """Whether an HTTP error's body says that the content of the request is refused.

    Args:
        error: of openai's client, which has the ``body``, or of another whose ``response`` is JSON.
    """
    said = [*_said(_body(error))]
    return any(map(_CONTENT.search, said)) and not any(map(_CALLER.search, said))


def _body(error: BaseException) -> Any:
    if (body := getattr(error, "body", None)) is not None:
        return body
    try:
        return getattr(error, "response").json()  # noqa: B009  # whichever library's it is
    except (AttributeError, TypeError, ValueError):
        return None


def _said(body: Any) -> Iterator[str]:
    """Codes and messages, and the names in ``metadata``; not what was asked, which some servers send back."""
    if isinstance(body, str):
        yield body
    if isinstance(body, list):
        for one in body:
            yield from _said(one)
    if not isinstance(body, Mapping):
        return
    yield from (body[name] for name in _SAID if isinstance(body.get(name), str))
    if isinstance(metadata := body.get("metadata"), Mapping):
        yield from map(str, metadata)
    for name in _INSIDE:
        yield from _said(body.get(name))
