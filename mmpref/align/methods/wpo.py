"""DPO in which a pair weighs as much as the policy would write it itself (WPO, Zhou et al., arXiv 2406.11827).

DPO's loss times w(chosen) * w(rejected), the paper's eq. 2: w is the mean over tokens of log p - log of the sum of all
squared probabilities, exponentiated, under the current policy and without a gradient.

This is TRL's form. The authors' code bounds the product by 1 (wzhouad/WPO `scripts/run_wpo.py`), which TRL does not.
"""

from __future__ import annotations

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method

METHOD = Method(BetaSettings, trl_loss("sigmoid", use_weighting=True))
