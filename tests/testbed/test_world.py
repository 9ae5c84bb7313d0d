"""Scenes: the same on every call, disjoint between splits, biased where they should be."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mmpref.testbed.language import ask_exists, caption, draw_question
from mmpref.testbed.oracle import find, is_caption, judge, scene_of
from mmpref.testbed.render import image, pixels, png
from mmpref.testbed.world import FAVOURITE, PARTNER, PLACES, SHAPES, Thing, scene, statistics


def _digest(split: str, count: int) -> str:
    digest = hashlib.sha256()
    for index in range(count):
        truth = scene(split, index)
        digest.update(png(truth) + caption(truth).encode())
    return digest.hexdigest()


def test_another_process_draws_the_same_bytes():
    code = "from tests.testbed.test_world import _digest; print(_digest('test', 20))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == _digest("test", 20)


def test_splits_share_no_image():
    seen = {split: {pixels(scene(split, k)).tobytes() for k in range(300)} for split in ("train", "dev", "test")}
    assert all(len(images) == 300 for images in seen.values())
    assert not seen["train"] & seen["dev"]
    assert not seen["train"] & seen["test"]
    assert not seen["dev"] & seen["test"]


def test_things_have_shapes_and_places_of_their_own_in_reading_order():
    for index in range(200):
        things = scene("test", index).things
        assert 2 <= len(things) <= 3
        assert len({thing.shape for thing in things}) == len({thing.place for thing in things}) == len(things)
        order = [PLACES.index(thing.place) for thing in things]
        assert order == sorted(order)


@pytest.mark.parametrize(("split", "low", "high"), [("train", 0.88, 1.0), ("test", 0.1, 0.35)])
def test_only_the_sft_world_pairs_shapes(split, low, high):
    scenes = [scene(split, index) for index in range(1000)]
    paired = np.mean([any(PARTNER[shape] in s.shapes for shape in s.shapes) for s in scenes])
    favourite = np.mean([FAVOURITE[thing.shape] == thing.colour for s in scenes for thing in s.things])
    assert low <= paired <= high
    assert (favourite > 0.7) == (split == "train")


def test_frequency_and_company_are_counted_in_the_sft_world():
    single, pairs = statistics()
    assert single["circle"] > 1.5 * single["moon"]
    assert all(max(SHAPES, key=lambda other: pairs[shape, other]) == PARTNER[shape] for shape in SHAPES)


def test_the_picture_shows_the_things_at_their_places():
    for index in range(20):
        truth = replace(scene("test", index), noise=0.0)
        tiles = pixels(truth).reshape(2, 24, 2, 24, 3).swapaxes(1, 2).reshape(4, -1, 3)
        drawn = [len(np.unique(tile, axis=0)) > 1 for tile in tiles]
        assert drawn == [place in {thing.place for thing in truth.things} for place in PLACES]


def test_unknown_scenes_are_refused():
    with pytest.raises(ValueError, match="splits are"):
        scene("validation", 0)
    with pytest.raises(ValueError, match="names no scene"):
        scene_of("COCO_val2014_000000000042")


def test_answers_are_true():
    rng = np.random.default_rng(0)
    for index in range(100):
        truth = scene("dev", index)
        assert not judge(caption(truth), truth).false_claims
        question = draw_question(truth, "exists", rng)
        shape = question.text.split()[3]
        assert question == ask_exists(shape, shape in truth.shapes)


def test_a_caption_is_judged_by_its_scene():
    truth = next(s for s in (scene("test", k) for k in range(100)) if "circle" in s.shapes and "ring" not in s.shapes)
    text = "A red ring is in the top left. " + caption(truth)
    verdict = judge(text, truth)
    assert verdict.hallucinated == ("ring",)
    assert verdict.false_claims == (Thing("red", "ring", "top left"),)
    assert not verdict.missed
    assert judge("", truth).missed == truth.shapes
    assert is_caption(text)
    assert not is_caption("A red ring is in the top.")
    assert not is_caption("A red ring is in the top left")


def test_a_picture_finds_its_scene():
    assert find(image(scene("test", 7)), "test", 10) == scene("test", 7)
    assert find(image(scene("dev", 7)), "test", 10) is None
