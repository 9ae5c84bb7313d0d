"""Tails of sentences: where a sentence is cut, where its new tail ends, and how both join (arXiv 2407.02477).

A tail ends where the sentence that it completes does, by the rule that split the reference
(`mmpref.sampling.sentences`): a model that continued the reference word for word would give the reference back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.sampling.sentences import Sentence, first_end, may_end, sentences, stands_at_end

_BROKEN = "\ufffd"
"""What tokenizers decode the first bytes of a character to."""
_SEAM_TOKENS = 8
"""Tokens before a tail that it is decoded with: enough for the seam, and linear in the tail."""


@dataclass(frozen=True)
class TokenizedAnswer:
    """An answer as the prompt format writes it (`mmpref.vlm.answer_tokens.WrittenAnswer`), to be cut."""

    text: str
    begin: int
    ids: Sequence[int]
    spans: Sequence[tuple[int, int]]

    def begins_character(self, token: int) -> bool:
        """Whether a token begins with a character, not amid its bytes (all tokens of a character have its span)."""
        return token == 0 or self.spans[token][0] >= self.spans[token - 1][1]

    def cut_places(self, begin: int, end: int) -> list[int]:
        """Tokens whose own text begins within [begin, end) of the text: before each of them a cut may fall. Most
        tokenizers put the space before a word into the word's token; tokens of white space only have no own text."""
        cuts = []
        for token, (start, stop) in enumerate(self.spans):
            piece = self.text[start:stop]
            own = start + len(piece) - len(piece.lstrip())
            if begin <= own < min(end, stop) and self.begins_character(token):
                cuts.append(token)
        return cuts

    def cut(self, place: int, begin: int) -> Cut:
        """The sentence that begins at a character of the text, cut before a token."""
        end = self.spans[place - 1][1] if place else begin
        # What is decoded before the tail must begin with a whole character.
        seam = max(0, place - _SEAM_TOKENS)
        while seam and not self.begins_character(seam):
            seam -= 1
        return Cut(self.text[begin:end], tuple(self.ids[:place]), tuple(self.ids[seam:place]), fresh=end <= begin)


@dataclass(frozen=True)
class Cut:
    """One sentence to continue.

    Args:
        head: what it keeps.
        prefix: the tokens of the answer up to the tail.
        seam: the last of them, which the tail is decoded with.
        fresh: the tail begins the sentence, so that white space at its beginning belongs to the sentence before.
    """

    head: str
    prefix: tuple[int, ...]
    seam: tuple[int, ...]
    fresh: bool


class TailDecoder:
    """Text of tails, and which tokens may end one.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._may_end: dict[int, bool] = {}

    def __call__(self, cut: Cut, tail: Sequence[int]) -> str:
        """The sentence as far as it is written: its head and the text that the tail's tokens add, decoded together with
        tokens before them, as tokenizers keep spaces at the seam only then."""
        seam, whole = self._decode(cut.seam), self._decode([*cut.seam, *tail])
        return cut.head + whole[len(seam) :].rstrip(_BROKEN)

    def may_end(self, token: int) -> bool:
        """Whether a token may bring the end of a sentence, or a part of a character that does."""
        if token not in self._may_end:
            text = self._decode([token], skip_special_tokens=False)
            self._may_end[token] = _BROKEN in text or may_end(text)
        return self._may_end[token]

    def _decode(self, tokens: Sequence[int], skip_special_tokens: bool = True) -> str:
        text: str = self._tokenizer.decode(
            list(tokens), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
        )
        return text


class TailStop:
    """Stop rule of a tail (`mmpref.vlm.branches.StopRule`): it ends once the sentence has certainly ended.

    That is told by what follows, so the tail's last token may belong to the next sentence; `joined` leaves it out.
    """

    def __init__(self, decoder: TailDecoder, cut: Cut) -> None:
        self._decoder, self._cut = decoder, cut
        self._undecided = False

    def __call__(self, tokens: list[int]) -> int | None:
        if not self._undecided and not self._decoder.may_end(tokens[-1]):
            return None
        end, self._undecided = first_end(self._decoder(self._cut, tokens))
        return None if end is None else len(tokens)


def joined(written: str, cut: Cut, original: Sentence) -> str:
    """A sentence with its new tail, and what stood around the original.

    Args:
        written: head and tail, as `TailDecoder` gives them.

    Returns:
        Nothing where the model ended the answer at a cut before the sentence.
    """
    parts = sentences(written)
    body = parts[0].body if parts else ""
    if cut.fresh:
        body = body.lstrip()
        if not body:
            return ""
        body = original.body[: len(original.body) - len(original.body.lstrip())] + body
    return body + original.trailing


def is_cut_off(written: str, tokens: int, limit: int) -> bool:
    """Whether a tail of so many tokens was stopped by the bound on its length, and not by its sentence's end."""
    return tokens >= limit and first_end(written)[0] is None and not stands_at_end(written)
