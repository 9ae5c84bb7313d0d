"""Anchored preference optimisation: the chosen answer likelier, the rejected one unlikelier (APO, arXiv 2408.06266).

1 - sigmoid(beta * chosen log-ratio) + sigmoid(beta * rejected log-ratio), the paper's eq. 7: where chosen answers are
better than what the model writes by itself. Each answer is held to the base model, not only their difference.
"""

from __future__ import annotations

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method

METHOD = Method(BetaSettings, trl_loss("apo_zero"), tags=("preference",))
