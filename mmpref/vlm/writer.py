"""Who writes answers: a policy in this process (`mmpref.sampling.answers.LocalWriter`), or one behind a server
(`mmpref.judges.served.ServedWriter`). Whoever hides image tokens or reads logits needs the policy itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from mmpref.types import Example
    from mmpref.vlm.decoding import Decoding
    from mmpref.vlm.generate import Answer

    Noise = tuple[int, Sequence[np.random.Generator]]
    """Steps of 1000 of diffusion on the pixel values, and a generator for each example."""


class Writer(Protocol):
    """Writes whole answers to examples' prompts and images. Each has a random stream of its own, named by the
    decoding's seed, the example's id and the answer's number. Reasoning is taken off."""

    @property
    def works_ahead(self) -> bool:
        """Whether `begin` starts anything."""
        ...

    def begin(self, examples: Sequence[Example]) -> None:
        """Start on examples that will be asked for next."""
        ...

    def generate(self, examples: Sequence[Example], decoding: Decoding, noise: Noise | None = None) -> list[Answer]:
        """One answer to each."""
        ...

    def sample(self, examples: Sequence[Example], decoding: Decoding, samples: int) -> list[list[Answer]]:
        """Several answers to each."""
        ...

    def notes(self) -> dict[str, float]:
        """What was counted since the last call."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...
