"""Where to look: two attention heads are shown in the image what a word names, and what is to be named next.

Whether something is there, and where, takes two steps of attention: from its word to the tiles that show it, and from
the answer to the word; a caption takes one from what was said last to the tiles that come next. A model this small
was slow to find these by itself; told where each thing is, as alignments guide translation models (Chen et al. 2016,
arXiv:1607.01628), it learns them in the few hundred steps of `train_language`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerFast

from mmpref.testbed.things import THINGS
from mmpref.testbed.training.tower import labels
from mmpref.testbed.world import Scene

WEIGHT = 0.3
"""Of this loss beside that of the answers."""
_LEAST = 1e-6


class GuidedAttention:
    """The loss of two heads over the scenes of a training.

    The first head of the first layer is taught at words that name a thing: it looks at the tiles that show it, or at
    the first token where none does. The first head of the second layer is taught where such a word comes next.

    Args:
        cells: of each image token, the cell that it shows, -1 where it shows none or all.
        image: where the image's tokens are in a row.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, truths: list[Scene], cells: torch.Tensor, image: torch.Tensor
    ) -> None:
        self.image = image
        self.thing_of_word = torch.full((len(tokenizer),), -1)
        words = [tokenizer(name, add_special_tokens=False)["input_ids"][0] for name in THINGS]
        self.thing_of_word[words] = torch.arange(len(THINGS))
        things = torch.tensor([labels(truth)[0] for truth in truths])
        nothing = torch.full((len(truths), 1), len(THINGS))
        self.shown = torch.cat([nothing, things], dim=1)[:, cells + 1]

    def __call__(
        self, attentions: Sequence[torch.Tensor], ids: torch.Tensor, targets: torch.Tensor, chosen: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean negative log of the attention that lies where it should.

        Args:
            attentions: of each layer, float (rows, heads, length, length).
            ids: int64 (rows, length).
            targets: int64 (rows, length), the tokens that are learned, -100 elsewhere.
            chosen: int64 (rows,), the numbers of the rows' scenes.
        """
        match, looks = self._looks(attentions[0], self.thing_of_word[ids], chosen)
        found = (looks[:, self.image] * match).sum(dim=-1)
        loss = -torch.where(match.any(dim=-1), found, looks[:, 0]).clamp(min=_LEAST).log().mean()
        coming = torch.where(targets >= 0, self.thing_of_word[targets.clamp(min=0)], -1)[:, 1:]
        match, looks = self._looks(attentions[1], coming, chosen)
        there = match.any(dim=-1)
        if there.any():
            found = (looks[there][:, self.image] * match[there]).sum(dim=-1)
            loss = loss - found.clamp(min=_LEAST).log().mean()
        return loss

    def _looks(
        self, attention: torch.Tensor, named: torch.Tensor, chosen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each place that a thing belongs to: which image tokens show it, and what the first head looks at."""
        row, place = (named >= 0).nonzero(as_tuple=True)
        return self.shown[chosen][row] == named[row, place][:, None], attention[row, 0, place]
