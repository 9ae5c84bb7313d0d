"""Texts of what a policy wrote, with the markers of its reasoning, so that this can be told from the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.reasoning import MARKERS, Markers, marks, opening
from mmpref.types import Message
from mmpref.vlm.special_tokens import special_tokens_of

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


class Detokenizer:
    """From token ids to text.

    Args:
        keep_markers: markers of reasoning; they stay in a text though they be special tokens, as those around an answer
            do, and one that the policy's prompts open is put before it. Without any no special token stays.

    Attributes:
        opened: that one, or nothing.
    """

    def __init__(self, policy: Policy, keep_markers: Markers = MARKERS) -> None:
        self._tokenizer = policy.tokenizer
        self.opened = opening(policy.render((Message("user", "?"),), 0), keep_markers) if keep_markers else ""
        markers = {*marks(keep_markers)} if keep_markers else set()
        special = {text: self._tokenizer.convert_tokens_to_ids(text) for text in special_tokens_of(self._tokenizer)}
        self._marker_ids = {token for text, token in special.items() if text in markers}
        self._dropped_ids = {*special.values()} - self._marker_ids

    def __call__(self, ids: Sequence[int]) -> str:
        """The text without other special tokens, and without white space around it."""
        has_markers = not self._marker_ids.isdisjoint(ids)
        kept = [token for token in ids if token not in self._dropped_ids] if has_markers else list(ids)
        return self.opened + str(self._tokenizer.decode(kept, skip_special_tokens=not has_markers)).strip()
