"""Log-probabilities under the reference, kept on disk: a frozen model says the same of a pair in every epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

LogProbs = tuple[torch.Tensor, torch.Tensor]


class ReferenceLogProbs:
    """Summed log-probabilities of the chosen and rejected answer of every row, computed when a row is first met.

    They belong to a run: its base model, data and prompt format cannot change under it. A restart finds what was
    computed before.

    Args:
        path: file of float32 [rows, 2]; NaN where a row has not been met. Made if it is not there.
    """

    def __init__(self, path: Path, rows: int) -> None:
        if not path.is_file() or path.stat().st_size != rows * 8:
            np.full((rows, 2), np.nan, dtype=np.float32).tofile(path)
        self._kept = np.memmap(path, dtype=np.float32, mode="r+", shape=(rows, 2))

    def of(self, rows: torch.Tensor, compute: Callable[[], LogProbs]) -> LogProbs:
        """Log-probabilities [B] of the chosen and of the rejected answers of a batch.

        Args:
            rows: long [B], the numbers of the batch's rows.
            compute: asks the reference about the whole batch; called only where a row is new.
        """
        numbers = rows.cpu().numpy()
        if np.isnan(self._kept[numbers]).any():
            self._kept[numbers] = torch.stack(compute(), 1).float().cpu().numpy()
        chosen, rejected = torch.from_numpy(self._kept[numbers]).to(rows.device).unbind(1)
        return chosen, rejected
