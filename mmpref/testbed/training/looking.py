"""Where to look: one attention head is taught to find in the image what a word names.

Whether something is there, and where, takes two steps of attention: from its word to the tiles that show it, and from
the answer to the word. A model this small stumbles on the first only after thousands of steps of training; told where
each thing is, as alignments guide translation models (Chen et al. 2016, arXiv:1607.01628), it needs a hundred.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerFast

from mmpref.testbed.things import THINGS
from mmpref.testbed.training.tower import PATCHES, labels
from mmpref.testbed.world import Scene

WEIGHT = 0.3
"""Of this loss beside that of the answers."""
_LEAST = 1e-6


class GuidedAttention:
    """The loss of one head of the first layer over the scenes of a training.

    Args:
        order: of each image token, the number of the patch that it shows, -1 for a row's end.
        image: where the image's tokens are in a row.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, truths: list[Scene], order: torch.Tensor, image: slice
    ) -> None:
        self.image = image
        self.thing_of_word = torch.full((len(tokenizer),), -1)
        words = [tokenizer(name, add_special_tokens=False)["input_ids"][0] for name in THINGS]
        self.thing_of_word[words] = torch.arange(len(THINGS))
        cells = torch.tensor([labels(truth)[0] for truth in truths])
        cell = order // PATCHES - 1  # the thumbnail's patches come first
        nothing = torch.full((len(truths), 1), len(THINGS))
        self.shown = torch.cat([nothing, cells], dim=1)[:, (cell + 1).clamp(min=0)]

    def __call__(self, attention: torch.Tensor, ids: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Return the mean negative log of the attention that lies where it should.

        That is on the tiles that show what a word names, or on the first token where none does.

        Args:
            attention: float (rows, heads, length, length) of the first layer; the first head is taught.
            ids: int64 (rows, length).
            chosen: int64 (rows,), the numbers of the rows' scenes.
        """
        named = self.thing_of_word[ids]
        row, place = (named >= 0).nonzero(as_tuple=True)
        match = self.shown[chosen][row] == named[row, place][:, None]
        looks = attention[row, 0, place]
        found = (looks[:, self.image] * match).sum(dim=-1)
        return -torch.where(match.any(dim=-1), found, looks[:, 0]).clamp(min=_LEAST).log().mean()
