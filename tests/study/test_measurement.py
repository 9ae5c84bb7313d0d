"""The ledger: what is written is read, in the same bytes, and is enough for statistics over images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmpref.errors import RunError
from mmpref.run.results import Key
from mmpref.study.measurement import TIMINGS, Failure, ImageCounts, Ledger, Measurement, MetricValue


def _measurement(row: str = "bdhs", **changes: object) -> tuple[Measurement, list[str]]:
    counts, images = ImageCounts.collect(
        ["b", "b", "a", "c"], [{"wrong": 1.0, "n": 300.0}, {"n": 4.0}, {"wrong": 2.0}, {}]
    )
    value = MetricValue(Key("chair", "chair_i", "all"), 0.1, 304, False, ("wrong", "n"))
    facts = {"row": row, "split": "test", "base": 0, "seed": 1, "values": (value,), "counts": {"chair": counts}}
    return Measurement(**{**facts, "kl": 1 / 3, "seconds": {"train": 1.5}, **changes}), images  # type: ignore[arg-type]


def test_counts_are_summed_by_image_in_the_order_of_the_benchmark() -> None:
    one, images = _measurement()
    counts = one.counts["chair"]
    assert images == ["b", "a", "c"]
    assert (counts.names, counts.sums.dtype) == (("n", "wrong"), np.dtype("uint16"))
    assert counts.of("wrong").tolist() == [1, 2, 0]
    assert counts.of("n").tolist() == [304, 0, 0]
    assert counts.of("other").tolist() == [0, 0, 0]


def test_an_image_of_which_a_question_lacks_a_score_has_none() -> None:
    counts, images = ImageCounts.collect(["a", "b", "a", "c"], [{"n": 1.0}, {"n": 1.0}, None, None])
    assert (images, counts.of("n").tolist()) == (["a", "b", "c"], [0, 1, 0])


def test_answers_that_could_not_be_read_are_kept_with_the_metric() -> None:
    one, _ = _measurement(values=(MetricValue(Key("pope", "accuracy", "all"), 0.5, 9, True, unread=0.6),))
    [value] = Measurement.from_dict(one.as_dict()).values
    assert (value.unread, value.is_form) == (0.6, True)
    assert "unread" not in _measurement()[0].as_dict()["values"][0], "as in ledgers of before"


def test_counts_that_are_no_whole_numbers_stay_exact() -> None:
    counts, _ = ImageCounts.collect(["a", "b"], [{"score": 1 / 3}, {"score": -2.0}])
    assert ImageCounts.from_dict(counts.as_dict()).of("score").tolist() == [1 / 3, -2.0]


def test_a_ledger_gives_back_what_it_was_given(tmp_path: Path) -> None:
    one, images = _measurement(point={"trainer.learning_rate": 3e-4}, data={"pairs": 8.0})
    Ledger(tmp_path).write(one, [images])
    [back] = Ledger.read(tmp_path)
    assert back == one
    assert back.seconds == {"train": 1.5}
    assert back.value("chair chair_i") == one.values[0]
    assert Ledger(tmp_path).image_ids(back.counts["chair"].images) == images


def test_its_bytes_do_not_depend_on_how_long_it_took(tmp_path: Path) -> None:
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        one, images = _measurement(seconds={"train": seconds})
        Ledger(tmp_path / name).write(one, [images])
    file = "bdhs/test-base0-seed1.json"
    assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_point_of_a_grid_stands_beside_the_run(tmp_path: Path) -> None:
    run, _ = _measurement()
    point, _ = _measurement(is_grid_point=True, point={"trainer.learning_rate": 3e-4})
    for one in (run, point):
        Ledger(tmp_path).write(one)
    assert [one.name for one in Ledger.read(tmp_path)] == [
        "bdhs/test-base0-seed1",
        "bdhs/test-base0-seed1-grid-learning_rate=0.0003",
    ]


def test_a_failure_goes_when_the_run_is_measured(tmp_path: Path) -> None:
    ledger, (one, _) = Ledger(tmp_path), _measurement()
    failure = Failure("bdhs", 0, 1, {}, False, "the loss is not finite")
    ledger.write_failure(failure)
    assert (ledger.failures(), Ledger.read(tmp_path)) == ([failure], [])
    ledger.write(one)
    assert (ledger.failures(), Ledger.read(tmp_path)) == ([], [one])


def test_a_ledger_takes_in_another_and_loses_nothing_of_its_own(tmp_path: Path) -> None:
    kept, run = Ledger(tmp_path / "kept"), Ledger(tmp_path / "run")
    (first, images), (second, _), (failed, _) = _measurement(), _measurement("dpo"), _measurement("ipo")
    kept.write(first, [images])
    kept.write_base("1-aa", "11")
    kept.write_failure(Failure("ipo", 0, 1, {}, False, "no memory"))
    run.write(second, [images])
    run.write(failed, [images])
    run.write_base("2-bb", "22")
    for _ in range(2):
        kept.take(run)
        assert Ledger.read(kept.folder) == [first, second, failed]
        assert [one.seconds for one in Ledger.read(kept.folder)] == [{"train": 1.5}] * 3
        assert len((kept.folder / TIMINGS).read_text().splitlines()) == 3
        assert kept.bases() == {"1-aa": "11", "2-bb": "22"}
        assert kept.failures() == []


def test_a_file_that_is_no_measurement_is_named(tmp_path: Path) -> None:
    (tmp_path / "bdhs").mkdir()
    (tmp_path / "bdhs" / "x.json").write_text("{}")
    with pytest.raises(RunError, match=r"x\.json holds no measurement"):
        Ledger.read(tmp_path)
