"""Two samples of the current policy, ranked by an annotator, at every step (the paper's online-DPO, section 4).

Of the data only images and prompts are used. Rows without a verdict are left out of their step, and counted.
"""

from __future__ import annotations

from mmpref.align.loss_settings import loss_options, loss_reward
from mmpref.align.method import Method
from mmpref.align.ranked_source import RankedSettings, RankedSource

METHOD = Method(
    RankedSettings,
    loss_options,
    reward=loss_reward,
    source=RankedSource,
    needs=lambda _: (),
    needs_annotator=True,
    annotator_instruction=lambda settings: settings.instruction,
)
