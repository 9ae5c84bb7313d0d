"""CHAIR on the testbed's scenes, without a model: true captions, and captions with things that are not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpref.bench.benchmark import BENCHMARKS, Score
from mmpref.bench.official import asked_of
from mmpref.bench.plan import load_plan
from mmpref.errors import InputError
from mmpref.recipes.schema import as_plain
from mmpref.registry import resolve_path
from mmpref.tables.open import open_table
from mmpref.testbed.oracle import scene_of
from mmpref.testbed.reference import description, with_other
from mmpref.testbed.things import THINGS
from mmpref.testbed.world import Scene, absent, tempting
from tests.bench.conftest import png, write_rows

BENCHMARK = BENCHMARKS.get("chair")
SETTINGS = BENCHMARK.settings(synonyms=resolve_path("pkg:mmpref.testbed/synonyms.txt"))
LIMIT = 20


def scored(split: str, say: Any, columns: int = 4) -> dict[str, float]:
    """What the benchmark says of descriptions of a split's scenes, changed as `say` changes the scene."""
    table, task = open_table("testbed-chair", split), BENCHMARK.task(SETTINGS)
    rows = [dict(list(row.items())[:columns]) for _, row in zip(range(LIMIT), table, strict=False)]
    samples = task.samples(replace(table, rows=lambda: iter(rows)), LIMIT)
    scores = [task.score(sample, description(say(scene_of(sample.image_id)))) for sample in samples]
    return {metric.name: float(metric.value(_sums(scores))) for metric in task.metrics(scores)}


def _sums(scores: list[Score]) -> Any:
    return {key: np.array(sum(score.counts[key] for score in scores)) for key in scores[0].counts}


@pytest.mark.parametrize("split", ["dev", "test", "usual", "unusual", "repainted", "foreign"])
def test_a_description_hallucinates_nothing(split: str) -> None:
    found = scored(split, lambda truth: truth)
    assert (found["chair_i"], found["chair_s"], found["recall"]) == (0, 0, 1)


def _one_usual(truth: Scene) -> Scene:
    return with_other(truth, truth.names[0], tempting(truth)[0])


def _one_other(truth: Scene) -> Scene:
    return with_other(truth, truth.names[0], next(name for name in absent(truth) if name not in tempting(truth)))


def test_what_is_usual_at_a_place_is_told_from_other_things() -> None:
    typical, other = scored("test", _one_usual), scored("test", _one_other)
    assert typical["chair_i"] == typical["chair_i_typical"] == other["chair_i"] == other["chair_i_other"] > 0
    assert typical["chair_i_other"] == other["chair_i_typical"] == 0
    without = scored("test", _one_usual, columns=3)
    assert without == {
        name: value for name, value in typical.items() if name not in ("chair_i_typical", "chair_i_other")
    }


def test_without_an_answer_no_metric_of_what_is_usual_is_made_up() -> None:
    names = {metric.name for metric in BENCHMARK.task(SETTINGS).metrics([])}
    assert "chair_i" in names
    assert not names & {"chair_i_typical", "chair_i_other"}


def test_its_table_knows_every_thing_by_its_whole_name() -> None:
    task = BENCHMARK.task(SETTINGS)
    for name in THINGS:
        assert task.synonyms.objects(f"There is a {name} and a {name} at the back. This is a street.") == [name, name]


def test_results_without_a_table_of_synonyms_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = tmp_path / "shown.jsonl"
    rows.write_text(json.dumps({"image": "a.png", "objects": ["cup", "box"]}) + "\n")
    plan = load_plan("chair", "chair", {"data": str(rows)}, None)
    [remark] = plan.remarks
    assert "plurals by English rules" in remark
    assert remark.startswith("chair has no table of synonyms: it looks for the 2 objects that")
    assert asked_of(plan, "").changed == {"synonyms": None}
    plan = load_plan("chair", "chair", {"data": str(rows), "synonyms": SETTINGS.synonyms}, None)
    assert plan.remarks == ()
    assert asked_of(plan, "").changed == {"synonyms": SETTINGS.synonyms}


def _shown(folder: Path, *objects: list[str]) -> dict[str, str | None]:
    """Settings for one image a list of objects."""
    rows = []
    for number, names in enumerate(objects):
        (folder / f"{number}.png").write_bytes(png(("red", "blue")[number]))
        rows.append({"image": f"{number}.png", "objects": names})
    file = write_rows(folder / "shown.jsonl", rows)
    (folder / "words.txt").write_text("cup, mug\ndining table, table\n")
    return {"data": str(file), "synonyms": str(folder / "words.txt")}


def test_objects_of_rows_are_read_as_words_of_captions_are(tmp_path: Path) -> None:
    plan = load_plan("chair", "chair", _shown(tmp_path, ["cups", "Tables"], ["mug"]), None)
    assert [sample.reference["objects"] for sample in plan.samples] == [["cup", "dining table"], ["cup"]]
    counts = plan.task.score(plan.samples[0], "Two cups on a table.").counts
    assert (counts["hallucinated"], counts["found"], counts["objects"]) == (0, 2, 2)
    assert plan.remarks == ()


def test_objects_that_the_table_does_not_know_are_told_and_out_of_recall(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = load_plan("chair", "chair", _shown(tmp_path, ["cup", "cloud"], ["cup", "table"]), None)
    assert plan.task.score(plan.samples[0], "A mug.").counts["objects"] == 1
    [remark] = plan.remarks
    assert "1 of 4 objects that the rows list are in no line" in remark
    assert "(1 different: 'cloud'; first: row 0 (counted from 0))" in remark
    assert remark in caplog.text


def test_rows_that_list_no_objects_are_told(tmp_path: Path) -> None:
    plan = load_plan("chair", "chair", _shown(tmp_path, ["cup"], []), None)
    assert plan.remarks == ("1 of 2 rows list no objects: whatever is named there counts as false.",)
    assert plan.task.score(plan.samples[1], "A cup.").counts["hallucinated"] == 1


def test_rows_whose_objects_are_mostly_unknown_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 of 3 objects .* no table of these data"):
        load_plan("chair", "chair", _shown(tmp_path, ["cup", "cloud"], ["sky"]), None)


def test_rows_with_a_prompt_of_their_own_may_have_several_images(tmp_path: Path) -> None:
    for name in ("red", "blue"):
        (tmp_path / f"{name}.png").write_bytes(png(name))
    both = ["red.png", "blue.png"]
    rows = [
        {"images": both, "asked": "Describe image one.", "objects": ["cup"]},
        {"images": both[::-1], "asked": "Describe image two.", "objects": ["cup"]},
        {"images": both[:1], "asked": "Describe it.", "objects": ["cup"]},
    ]
    settings = {"data": str(write_rows(tmp_path / "rows.jsonl", rows)), "prompt_column": "asked"}
    samples = load_plan("chair", "chair", settings, None).samples
    assert [[image.content for image in sample.images] for sample in samples] == [
        [png("red"), png("blue")],
        [png("blue"), png("red")],
        [png("red")],
    ]
    assert [sample.messages[0].content for sample in samples] == [row["asked"] for row in rows]
    assert len({sample.image_id for sample in samples}) == 3
    assert "prompt_column" not in as_plain(SETTINGS), "runs of before it keep their hash"
    for further in ({"image_2": "blue.png"}, {"images": both}):
        asked = [{"image": "red.png", **further, "asked": "Describe image two.", "objects": ["cup"]}]
        with pytest.raises(InputError, match="in several columns"):
            load_plan("chair", "chair", {**settings, "data": str(write_rows(tmp_path / "two.jsonl", asked))}, None)
    with pytest.raises(InputError, match="column image holds 2 images"):
        load_plan("chair", "chair", {**settings, "prompt_column": None}, None)
    with pytest.raises(InputError, match="no value in column 'question'"):
        load_plan("chair", "chair", {**settings, "prompt_column": "question"}, None)
