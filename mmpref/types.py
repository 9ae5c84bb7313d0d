"""The nouns that travel between modules: message, image, example, pair, model reference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Box = tuple[float, float, float, float]
"""A part of an image: left, top, right, bottom, as shares of width and height."""
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation, as plain text; images stand apart and belong to the first user turn."""

    role: Role
    content: str


@dataclass(frozen=True)
class ImageData:
    """One encoded image as its source had it. Decode it with `mmpref.images.decode`."""

    content: bytes
    name: str = ""

    @cached_property
    def sha256(self) -> bytes:
        """The digest of its bytes, by which equal files are known."""
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True)
class Example:
    """One supervised example: images, a prompt that ends in a user turn, and the reference answer.

    Where a row says so (`context_of`), the prompt ends in the beginning of an answer, and the answers go on from there.

    Args:
        answer: the reference, or of a preference set the chosen answer.
        source_id: table, split and row that it comes from.
        rejected: the source's own rejected answer, where the source is a preference set.
        rejected_policy: and its second one.
        facts: what the source says about the row and its answers, by the names of `mmpref.data.row_facts.FACTS` and
            `PROVENANCE`.
        objects: names of what the images show, as the row lists them; None where it lists none.
        notes: what was changed when it was read, such as ``images_moved_first``; counted.
        made_from: the source's images, where a method has changed them: what they show is in splits with these.
        made_from_row: of a dataset of mmpref's, the row of its own source; empty of others.
        spans: weights of words of the source's answers, by the columns of `mmpref.tables.weights.SPANS`.
    """

    id: str
    images: tuple[ImageData, ...]
    prompt: tuple[Message, ...]
    answer: str
    source_id: str
    rejected: str | None = None
    rejected_policy: str | None = None
    facts: Mapping[str, str | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    objects: tuple[str, ...] | None = None
    made_from: tuple[ImageData, ...] = ()
    made_from_row: str = ""
    spans: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """An example with a rejected answer, and how that answer came to be.

    Args:
        rejected: the answer to train away from.
        method: name of the builder that wrote it.
        similarity: cosine similarity of rejected and chosen under the run's embedder, or None where not measured.
        iterations: tries that were needed, counted from 1.
        seed: the run's seed.
        rejected_policy: a second rejected answer, for averaged losses.
        rejected_by: whether the rejected answer is the example's own, which the example's facts describe (who wrote it,
            how it was rated), or the method's.
    """

    example: Example
    rejected: str
    method: str
    similarity: float | None
    iterations: int
    seed: int
    rejected_policy: str | None = None
    rejected_by: Literal["example", "method"] = "method"

    @property
    def chosen(self) -> str:
        return self.example.answer


@dataclass(frozen=True)
class Skip:
    """A row that was left out, and why; reasons are short, fixed strings so that they can be counted.

    Args:
        missing: paths of all its images that are nowhere, as the row has them.
    """

    id: str
    reason: str
    detail: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelRef:
    """A model is always a base at a revision, with or without an adapter at a revision."""

    model: str
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None

    def __str__(self) -> str:
        base = f"{self.model}@{self.revision}" if self.revision else self.model
        if self.adapter is None:
            return base
        adapter = f"{self.adapter}@{self.adapter_revision}" if self.adapter_revision else self.adapter
        return f"{base} + {adapter}"


def context_of(prompt: Sequence[Message]) -> str:
    """The beginning of an answer in which a prompt ends, and which answers continue; empty where it ends in a question.
    Continuations keep the white space before them, so that both join as they are."""
    return prompt[-1].content if prompt and prompt[-1].role == "assistant" else ""


def as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages in the TRL conversational form: ``[{"role": ..., "content": ...}]``."""
    return [{"role": message.role, "content": message.content} for message in messages]


def assistant_message(text: str) -> list[dict[str, str]]:
    """An answer in that form: one turn of the assistant's."""
    return [{"role": "assistant", "content": text}]


def messages(turns: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Messages of plain text; blocks that stand for images are left out (images go into the first user turn)."""
    return [Message(turn["role"], text_of([turn])) for turn in turns]


def text_of(turns: Sequence[Mapping[str, Any]]) -> str:
    """The text of messages with string content or content in parts, of which those that are no text are left out."""
    contents = [turn["content"] for turn in turns]
    return "\n".join(
        content
        if isinstance(content, str)
        else "".join(str(part.get("text") or "") for part in content if part["type"] == "text")
        for content in contents
    )
