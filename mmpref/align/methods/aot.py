"""Alignment by optimal transport on pairs: margins of policy and base compared in order (AOT, arXiv 2406.05882).

The log-probability of the chosen answer less that of the rejected one is sorted among the pairs of a micro-batch, under
the policy and under the base model, and DPO's loss is of the k-th of both. On micro-batches of one pair it is DPO.
Rewards in the log are DPO's, of pairs as the data have them, as TRL's are: the loss compares margins in order, and
gives no pair one of its own.
"""

from __future__ import annotations

from mmpref.align.loss_settings import SmoothedSettings, trl_loss
from mmpref.align.method import Method

METHOD = Method(SmoothedSettings, trl_loss("aot"), tags=("preference",))
