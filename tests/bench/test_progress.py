"""How far an evaluation is, over its benchmarks and sessions."""

from __future__ import annotations

from mmpref.bench.progress import Counter


def test_one_total_over_all_benchmarks() -> None:
    told: list[tuple[int, int, str]] = []
    counter = Counter({"pope": 90, "chair": 10}, lambda *news: told.append(news))
    counter.begin("pope", 90)
    assert told == [], "nothing is done yet"
    counter.advance(64)
    counter.advance(26)
    counter.begin("chair", 10)
    counter.advance(10)
    assert told == [(64, 100, "pope"), (90, 100, "pope"), (100, 100, "chair")]


def test_what_an_earlier_session_did_is_done_and_what_was_not_needed_too() -> None:
    told: list[tuple[int, int, str]] = []
    counter = Counter({"mmhal": 20, "chair": 10}, lambda *news: told.append(news))
    counter.begin("mmhal", 12)
    counter.advance(4)
    counter.begin("chair", 10)
    counter.advance(3)
    assert told == [(12, 30, "mmhal"), (23, 30, "chair")]


def test_nobody_needs_to_be_told() -> None:
    counter = Counter({"pope": 2}, None)
    counter.begin("pope", 2)
    counter.advance(2)
