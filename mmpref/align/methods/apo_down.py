"""Anchored preference optimisation for chosen answers below the model's own: both fall (APO, arXiv 2408.06266).

sigmoid(beta * chosen log-ratio) + 1 - sigmoid(beta * (chosen log-ratio - rejected log-ratio)), the paper's eq. 8: the
chosen answer becomes unlikelier, and the rejected one more so.
"""

from __future__ import annotations

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method

METHOD = Method(BetaSettings, trl_loss("apo_down"), tags=("preference",))
