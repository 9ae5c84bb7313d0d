"""Prompts that a template of Vicuna's has rendered, taken apart again: another model's template renders them anew.

``A chat between ... USER: <image>\\nWhy? ASSISTANT:``, with or without the words before, and with earlier rounds
(lm-sys/FastChat ``vicuna_v1.1``: ``USER: Why? ASSISTANT: So.</s>USER: And now? ASSISTANT:``).
"""

from __future__ import annotations

import re

_ROLES = {"USER": "user", "ASSISTANT": "assistant"}
_OPENING = re.compile(r"(?:^|(?<=\s)|(?<=</s>))(USER|ASSISTANT):")


def unrendered(text: str) -> list[dict[str, str]] | None:
    """The messages of a rendered prompt, without the template's words before them; None for any other text."""
    _, *parts = _OPENING.split(text)
    roles, contents = parts[::2], parts[1::2]
    if not roles or roles != ["USER", "ASSISTANT"] * (len(roles) // 2) or contents[-1].strip():
        return None
    return [
        {"role": _ROLES[role], "content": content.strip().removesuffix("</s>").rstrip()}
        for role, content in zip(roles[:-1], contents, strict=False)
    ]
