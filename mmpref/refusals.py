"""Replies of language models that refuse what they were asked for, in English."""

from __future__ import annotations

import re

PHRASES = re.compile(
    r"\bI(?:['’]m| am) (?:sorry|unable|not able)\b|\bI (?:cannot|can['’]t|could not|couldn['’]t)\b"
    r"|\bas an AI\b|\bunable to (?:see|view|provide|describe)\b",
    re.IGNORECASE,
)
"""Phrases that refusals have; so has an answer that says what an image does not show."""
_TASK = re.compile(
    r"\b(?:I (?:cannot|can['’]t|could not|couldn['’]t)|(?:unable|not able) to) (?:\w+ly )?"
    r"(?:(?:help|assist)\b(?! but)|comply\b|fulfill?\b|do (?:that|this|so)\b"
    r"|(?:rewrite|rephrase|revise|alter|modify|edit|correct)\b"
    r"|(?:provide|offer|create|generate|produce|write|make|add|introduce|include|spread|engage in|continue with)\b"
    r"[^,;]*\b(?:requests?|rewrit\w+|hallucinat\w+|fals\w+|mislead\w+|misinformation|inaccura\w+|incorrect|untru\w+"
    r"|fabricat\w+|decept\w+)\b"
    r"|(?:see|view|access|open|process|analy[sz]e|look at) (?:(?:the|this|that|any|your|an?)\s)?"
    r"(?:(?:attached|provided|uploaded)\s)?(?:image|picture|photo|photograph|attachment)s?(?: directly)?\s*"
    r"(?:[.,;!]|$|(?:and|so|but)\b))",
    re.IGNORECASE,
)
"""What is refused, right behind the words that refuse it: the task itself, or a look at any image, and not something
that this image does not tell. Who "cannot tell whether the man wants help" refuses nothing."""
_OF_BOTH = re.compile(r"\b(?:I|my|me|you|your|please|sorry)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def is_refusal(text: str) -> bool:
    """Whether a reply is nothing but a refusal: a sentence refuses the task, and none speaks of anything but of who is
    asked and who asks. An answer that says what cannot be told of an image is none.

    >>> is_refusal("I'm sorry, but I can't help with that."), is_refusal("I cannot tell what the sign says.")
    (True, False)
    """
    sentences = [one for one in _SENTENCE_END.split(text.strip()) if one]
    return any(map(_TASK.search, sentences)) and all(map(_OF_BOTH.search, sentences))
