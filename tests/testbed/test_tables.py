"""The tables: columns, sizes, and POPE's procedure."""

from __future__ import annotations

import io
import itertools
from collections import Counter

import pytest
from PIL import Image

from mmpref.testbed.oracle import scene_of
from mmpref.testbed.tables import testbed, testbed_chair, testbed_pope
from mmpref.testbed.world import PARTNER, scene, statistics


@pytest.mark.parametrize("table", [testbed, testbed_pope, testbed_chair])
def test_rows_repeat_and_images_open(table):
    for split in table.SPLITS:
        first = list(itertools.islice(table.rows(split), 12))
        assert first == list(itertools.islice(table.rows(split), 12))
        image = first[0].get("image") or first[0]["images"][0]
        picture = Image.open(io.BytesIO(image["bytes"]))
        assert (picture.format, picture.size, picture.mode, image["path"]) == ("PNG", (48, 48), "RGB", None)
    with pytest.raises(KeyError):
        next(iter(table.rows("validation")))


def test_the_sft_set_mixes_captions_and_questions():
    rows = list(testbed.rows("train"))
    assert len(rows) >= 2000
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows[:50]:
        assert set(row) == {"images", "prompt", "completion", "id"}
        assert [m["role"] for m in row["prompt"] + row["completion"]] == ["user", "assistant"]
        assert "<image>" not in row["prompt"][0]["content"]
    captions = sum(row["completion"][0]["content"].count(".") >= 2 for row in rows)
    assert 0.5 < captions / len(rows) < 0.7
    yes_no = Counter(row["completion"][0]["content"][:2] for row in rows)
    assert 0.8 < yes_no["Ye"] / yes_no["No"] < 1.25
    halves = [sum(len(r["completion"][0]["content"]) > 70 for r in part) for part in (rows[:1200], rows[1200:])]
    assert abs(halves[0] - halves[1]) < 120


def test_pope_asks_as_pope_does():
    rows = list(testbed_pope.rows("dev"))
    columns = ["question_id", "question", "answer", "image", "category", "image_source", "id"]
    assert all(list(row) == columns for row in rows[:5])
    assert len({row["id"] for row in rows}) == len(rows)
    by_category = {c: [row for row in rows if row["category"] == c] for c in testbed_pope.CATEGORIES}
    assert len({len(part) for part in by_category.values()}) == 1
    yes = [[(r["image_source"], r["question"]) for r in part if r["answer"] == "yes"] for part in by_category.values()]
    assert yes[0] == yes[1] == yes[2]
    assert len(yes[0]) * 2 == len(by_category["random"])
    for row in rows:
        shape = row["question"].removeprefix("Is there a ").removesuffix(" in the image?")
        assert (shape in scene_of(row["image_source"]).shapes) == (row["answer"] == "yes")


def test_adversarial_asks_for_partners_and_popular_for_frequent_shapes():
    single, _ = statistics()
    for index in range(50):
        truth = scene("dev", index)
        chance = sorted(set(single) - set(truth.shapes))
        popular = testbed_pope.absent(truth, "popular", chance)
        assert [single[s] for s in popular] == sorted((single[s] for s in popular), reverse=True)
        lonely = [s for s in truth.shapes if PARTNER[s] not in truth.shapes]
        first = testbed_pope.absent(truth, "adversarial", chance)[0]
        assert not lonely or PARTNER[first] in lonely


def test_chair_names_what_is_there():
    rows = list(testbed_chair.rows("test"))
    assert len(rows) >= 300
    assert all(tuple(row["gt_object"]) == scene_of(row["question_id"]).shapes for row in rows)
