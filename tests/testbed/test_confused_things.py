"""``scripts/confused_things.py``."""

from __future__ import annotations

from mmpref.testbed.things import family
from scripts.confused_things import counted


def test_a_hallucination_is_told_by_its_look_and_its_place() -> None:
    alike = next(name for name in family("knife") if name != "knife")
    unlike = next(name for name in ("dog", "sun", "car") if name not in family("knife"))
    counts = counted(["knife", alike, unlike, unlike], {"knife"}, {unlike}).counts
    assert counts == {
        "mentions": 4,
        "like one shown, usual": 0,
        "like one shown, not usual": 1,
        "unlike all, usual": 2,
        "unlike all, not usual": 0,
    }
