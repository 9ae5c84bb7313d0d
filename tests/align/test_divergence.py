"""A loss that ends far above where it began is told; noise, and losses about zero, are not."""

from __future__ import annotations

import pytest

from mmpref.align.divergence import divergence_remark, first_loss
from mmpref.align.summary import remarks_on


@pytest.mark.parametrize(
    ("first", "final", "told"),
    [
        (0.693, 1.84, True),
        (0.693, 0.9, False),
        (0.693, 0.2, False),
        (25.0, 400.0, True),  # IPO's at a beta of 0.1
        (0.001, 0.4, False),  # a policy gradient's
        (-0.2, 0.4, False),
        (None, 1.0, False),
        (0.693, None, False),
    ],
)
def test_a_loss_that_ends_far_above_its_beginning_is_told(first: float | None, final: float | None, told: bool) -> None:
    remark = divergence_remark(first, final)
    assert (remark is not None) == told
    remarks = remarks_on({} if final is None else {"loss": final}, first_loss=first)
    assert remarks == ([remark] if remark else [])
    if told:
        assert remark
        assert f"ended at {final:.3g}, and began at {first:.3g}" in remark
        assert "--learning-rate" in remark


def test_where_every_pair_begins_alike_the_first_row_is_the_beginning() -> None:
    losses = [0.693, 40.0, *[2.0] * 18]
    assert first_loss([{"loss": loss, "logratios/chosen": 0.0} for loss in losses]) == 0.693
    assert first_loss([{"loss": loss} for loss in losses]) == pytest.approx((0.693 + 40) / 2)
    assert first_loss([]) is None
