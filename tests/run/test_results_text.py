"""How numbers are written for people."""

from __future__ import annotations

import pytest

from mmpref.run.results_text import spread_texts


@pytest.mark.parametrize(
    ("values", "counts", "written"),
    [
        ((27.2333, 24, 1, 1036), True, ["27.2", "24", "1", "1,036"]),
        ((1483.3333, 36, 7, 4406), True, ["1,483", "36", "7", "4,406"]),
        ((0.01, 0.5, -1, 1), True, ["0.0", "0.5", "-1", "1"]),
        ((-0.01, 0, -1, 1), True, ["0.0", "0", "-1", "1"]),
        ((0.2306, 0.1304, 0.0286, 1), False, ["0.231", "0.130", "0.029", "1.000"]),
        ((2.5, -0.00001, -17.3333, 61.0001), False, ["2.5", "0.0", "-17.3", "61.0"]),
        ((None, None, None, None), False, []),
    ],
)
def test_a_spread_has_the_places_that_a_person_would_give(
    values: tuple[float | None, ...], counts: bool, written: list[str]
) -> None:
    spread = dict(zip(("mean", "median", "min", "max"), values, strict=True))
    assert spread_texts(spread, counts=counts) == written
