"""Whether a preference row can be trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mmpref.errors import ChatTemplateError, ImageError, brief
from mmpref.images import DEADLY, Look, Looks, decode
from mmpref.tables.image_cells import conversions, find_images
from mmpref.tables.image_roots import ImageRoots
from mmpref.tables.rows import REJECTED_POLICY, Fault, PreferenceRow, image_fault, same_answer
from mmpref.types import ImageData, Message, context_of
from mmpref.vlm.same_tokens import Alike
from mmpref.workers import DeadlyTask

if TYPE_CHECKING:
    from mmpref.vlm.preprocess import Refused

PLACEHOLDER_ANSWERS = {"chosen": "(an answer)", "rejected": "(another answer)"}
"""For answers that a method does not need and the data do not have."""
_ANSWERS = ("chosen", "rejected", REJECTED_POLICY)
_AHEAD = 256
"""Rows whose images other processes decode before their turn."""

Accepts = Callable[[Sequence[Message], Sequence[Any]], object]
"""Prepares a prompt and its decoded images for the model, and raises an ImageError where its processor refuses."""
_Found = tuple[tuple[ImageData, ...], tuple[str, ...]] | Fault
"""As `mmpref.tables.image_cells.find_images` gives a row's images; or why the row is not used."""


class Row(NamedTuple):
    """A row of the tables that are trained on.

    Args:
        table: the index of its table.
        where: its place there, for errors.
        read: what it holds.
        roots: where its images are.
        method: the way of making pairs that made it; "" where it does not say.
        weights: of words or the row, by column; or why they cannot be used.
    """

    table: int
    where: str
    read: PreferenceRow
    roots: ImageRoots
    method: str
    weights: dict[str, Any] | Fault


class RowCheck:
    """Whether a row can be trained on.

    Args:
        needs: answers that it must have.
        special: gives a special token that a text contains.
        accepts: tries the processor. What it refuses depends on the sizes of images, so it is not asked for every row.
        looks: sees whether images can be decoded.
        contexts: whether answers may continue one.
        alike: whether two answers are the same to the model.
        refused: what the model's chat template refuses.
    """

    def __init__(
        self,
        needs: Sequence[str],
        special: Callable[[str], str | None],
        accepts: Accepts | None,
        looks: Looks,
        contexts: bool,
        alike: Alike | None = None,
        refused: Refused | None = None,
    ) -> None:
        self._contexts, self._alike, self._refused = contexts, alike, refused
        self.needs, self._special, self._accepts, self._looks = needs, special, accepts, looks
        self._refusals: dict[tuple[tuple[int, int], ...], str] = {}
        self._accepted: set[tuple[tuple[int, int], ...]] = set()

    def found(self, rows: Iterable[Row]) -> Iterator[tuple[Row, _Found]]:
        """The rows, each with its images, which are decoded ahead where other processes do that; or why it is not
        used."""

        def images(found: tuple[Row, _Found]) -> list[tuple[ImageData, ...]]:
            return [] if isinstance(found[1], Fault) or not found[1][0] else [found[1][0]]

        finding = ((row, self._find(row)) for row in rows)
        yield from self._looks.ahead(finding, images, _AHEAD)

    def _find(self, row: Row) -> _Found:
        if isinstance(row.weights, Fault):
            return row.weights
        return self._fault(row.read) or self._images(row)

    def _fault(self, row: PreferenceRow) -> Fault | None:
        """What is wrong with its texts."""
        if fault := row.fault(*self.needs):
            return fault
        if not self._contexts and context_of(row.prompt):
            return Fault(
                "context", "the answers continue one, and this method is for whole answers", "prompt", "prompt"
            )
        rejected = [name for name in _ANSWERS[1:] if name in self.needs]
        for name in rejected:
            if same_answer(row.chosen, answer_of(row, name)):
                return Fault("equal-answers", "", name, name)
        texts = {"prompt": "\n".join(turn.content for turn in row.prompt)}
        texts |= {name: answer_of(row, name) for name in _ANSWERS}
        for name, text in texts.items():
            if token := self._special(text):
                return Fault("special-token", f"{name} contains {token}", name, name)
        for name in rejected:
            if self._alike and self._alike(row.chosen, texts[name]):
                return Fault("equal-tokens", "the model's tokenizer makes the same of both answers", name, name)
        kept = {name: texts[name] for name in ("chosen", "rejected", *rejected)}  # all that a collator writes
        if self._refused and (refused := self._refused(row.prompt, len(row.images), kept)):
            part, words = refused
            return Fault(ChatTemplateError.reason, f"{part}: {words}", part, part)
        return None

    def _images(self, row: Row) -> _Found:
        try:
            return find_images(row.read.images, row.roots)
        except ImageError as error:
            return image_fault(error)

    def __call__(self, row: PreferenceRow, found: _Found) -> tuple[tuple[ImageData, ...], list[str]] | Fault:
        """The row's images, and what was changed in it; or why it is not used."""
        if isinstance(found, Fault):
            return found
        images, notes = found
        try:
            looks = self._looks(images) if images else ()
            if refusal := self._refusal(row, images, looks):
                raise ImageError(refusal)
        except DeadlyTask:
            return image_fault(ImageError(DEADLY))
        except ImageError as error:
            return image_fault(error)
        return images, [*row.notes, *notes, *conversions(looks)]

    def _refusal(self, row: PreferenceRow, images: Sequence[ImageData], looks: Sequence[Look]) -> str | None:
        """What the processor says against images of these sizes."""
        if self._accepts is None:
            return None
        sizes = tuple(look.size for look in looks)
        buckets = tuple(_size_bucket(*size) for size in sizes)
        if buckets in self._accepted:
            return None
        if sizes not in self._refusals:
            try:
                self._accepts(row.prompt, [decode(image) for image in images])
            except ImageError as error:
                self._refusals[sizes] = brief(str(error), 300)
            else:
                self._accepted.add(buckets)
        return self._refusals.get(sizes)


def _size_bucket(width: int, height: int) -> tuple[int, int]:
    """What sizes are taken for equal: of ordinary pictures those within some 20%, of others none but the same."""
    ordinary = min(width, height) >= 64 and max(width, height) <= 4 * min(width, height)
    return (-round(4 * math.log2(width)), -round(4 * math.log2(height))) if ordinary else (width, height)


def answer_of(row: PreferenceRow, name: str) -> str:
    text: str = getattr(row, name)
    return text or PLACEHOLDER_ANSWERS.get(name, "")
