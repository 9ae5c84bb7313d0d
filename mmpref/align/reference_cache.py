"""A cache on disk of log-probabilities under the reference: a frozen model says the same of a pair in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from mmpref.distributed import gather_object

LogProbs = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Of the chosen and the rejected answers [B] of a batch, and of those of the second batch, if there is one."""


class ReferenceLogProbCache:
    """Summed log-probabilities of the answers of every row, computed when a row is first met.

    They belong to a run: its base model, data and prompt format cannot change under it. A restart finds what was
    computed before.

    Args:
        path: file of float32 [rows, pairs, 2]; NaN where a row has not been met. Made if it is not there.
        pairs: of every row: 2 where it has a second rejected answer.
        sharded: the reference can only be asked by all processes at once, since they share its parameters.
    """

    def __init__(self, path: Path, rows: int, pairs: int = 1, sharded: bool = False) -> None:
        self._sharded = sharded
        shape = (rows, pairs, 2)
        if not path.is_file() or path.stat().st_size != rows * pairs * 8:
            np.full(shape, np.nan, dtype=np.float32).tofile(path)
        self._log_probs = np.memmap(path, dtype=np.float32, mode="r+", shape=shape)

    def get(self, rows: torch.Tensor, compute: Callable[[], LogProbs]) -> LogProbs:
        """Log-probabilities of a batch.

        Args:
            rows: long [B], the numbers of the batch's rows.
            compute: asks the reference about the whole batch; called only where a row is new.
        """
        numbers = rows.cpu().numpy()
        is_new = bool(np.isnan(self._log_probs[numbers]).any())
        if any(gather_object(is_new)) if self._sharded else is_new:
            pairs = [torch.stack(tuple(pair), 1) for pair in compute()]
            self._log_probs[numbers] = torch.stack(pairs, 1).float().cpu().numpy()
        log_probs = torch.from_numpy(self._log_probs[numbers]).to(rows.device)
        return [(pair[:, 0], pair[:, 1]) for pair in log_probs.unbind(1)]
