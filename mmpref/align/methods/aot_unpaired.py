"""Alignment by optimal transport: chosen and rejected answers as two distributions (AOT, arXiv 2406.05882).

Log-ratios to the base model are sorted among the chosen and among the rejected answers of a micro-batch, and DPO's loss
is of the k-th of both, whichever pair they are of. On micro-batches of one pair it is DPO.
Rewards in the log are DPO's, of pairs as the data have them, as TRL's are.
"""

from __future__ import annotations

from mmpref.align.loss_settings import SmoothedSettings, trl_loss
from mmpref.align.method import Method

METHOD = Method(SmoothedSettings, trl_loss("aot_unpaired"), tags=("preference",))
