"""What is decoded: branches, how far each has been written, and the interface of the pools that decode them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmpref.rng import stream

if TYPE_CHECKING:
    import numpy as np

    from mmpref.vlm.encode import EncodedPrompt

StopRule = Callable[[list[int]], "int | None"]
"""Given the tokens generated so far, how many of them to keep if the branch ends here, else None."""


@dataclass(frozen=True)
class Branch:
    """One continuation to decode.

    Args:
        prompt: branches with the same object share its prefill.
        prefix: token ids already written of the answer.
        stream: names of its random stream, after the seed.
        stop: its stop rule beside the end-of-sequence token.
    """

    prompt: EncodedPrompt
    prefix: tuple[int, ...] = ()
    stream: tuple[str | int, ...] = ()
    stop: StopRule | None = None

    @property
    def length(self) -> int:
        """Tokens of prompt and prefix."""
        return len(self.prompt.embeds) + len(self.prefix)


@dataclass
class BranchState:
    """A branch in a pool, and what it has generated so far.

    Args:
        number: under which the pool yields it.
        tokens: token ids that were generated.
        generator: its random stream, once it has drawn.
    """

    number: int
    branch: Branch
    tokens: list[int] = field(default_factory=list)
    generator: np.random.Generator | None = None

    @property
    def history(self) -> list[int]:
        """Token ids of the prompt's text, the prefix and what was generated, which a repetition penalty counts."""
        return [*self.branch.prompt.text_ids, *self.branch.prefix, *self.tokens]

    def draw(self, seed: int) -> float:
        """The next number of its stream, from [0, 1)."""
        if self.generator is None:
            self.generator = stream(seed, *self.branch.stream, "decode")
        return self.generator.random()

    def append(self, token: int, eos_ids: Collection[int]) -> bool:
        """Take the next token, unless it ends the answer; whether the branch goes on."""
        if token in eos_ids:
            return False
        self.tokens.append(token)
        length = self.branch.stop(self.tokens) if self.branch.stop else None
        if length is not None:
            del self.tokens[length:]
        return length is None


class DecodingPool(ABC):
    """Branches that are decoded together, and a queue of more, which may be added to at any time."""

    @property
    @abstractmethod
    def has_free_rows(self) -> bool:
        """Whether nothing waits and a good part of the rows is empty: the moment to add more."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether every branch has ended."""

    @abstractmethod
    def add(self, branches: Sequence[Branch]) -> range:
        """Queue branches; the numbers under which they will come out. Those of one prompt should be added together."""

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """Decode them all; the number of each and the token ids that it generated, as it ends."""
