"""Scenes: the same on every call, disjoint between splits, with what is usual where it should be."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from mmpref.testbed.language import caption
from mmpref.testbed.oracle import find, scene_of
from mmpref.testbed.render import CELL, SIDE, backdrop, image, pixels, png, sprites
from mmpref.testbed.tables.testbed import turn
from mmpref.testbed.things import FAMILIES, FAMILY_OF, KINDS, THINGS, USUAL, held_out, kept, lookalikes, usual
from mmpref.testbed.training.tower import full_scene
from mmpref.testbed.world import (
    BIASED_SPLITS,
    COLUMNS,
    EVEN_SPLITS,
    FOREIGN,
    MEMBERS,
    REPAINTED,
    ROWS,
    SIDES,
    SPLITS,
    UNCLEAR_RATE,
    UNCLEAR_RATES,
    USUAL_RATE,
    absent,
    familiar,
    in_world,
    members,
    scene,
    statistics,
    tempting,
    with_unclear,
)


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


DRAWN = {
    "train": "d051d61fa286e372",
    "usual": "e419d442d986fd3c",
    "dev": "f53fb5bceca490a8",
    "test": "d82d7ea0719e68f1",
    "balanced": "93bd04f6472f6c86",
    "unusual": "1b59f8118a234760",
    "plain": "9ed494611d526c13",
    "train-3": "f3cef8a6903a2331",
    "test-6": "ae5d1f09af65b737",
}
PLACES = "846248a23627d6a5"
"""Beginnings of SHA-256: of the scenes that checkpoints and ledgers are of with what is said of them, and of places."""


@pytest.mark.parametrize("split", DRAWN)
def test_scenes_that_are_measured_stay_what_they_are(split):
    said = "".join(f"{truth} {caption(truth)} {turn(truth)}" for truth in _scenes(split, 100))
    assert hashlib.sha256(said.encode()).hexdigest().startswith(DRAWN[split])


def test_places_that_are_measured_stay_what_they_are():
    drawn = b"".join(np.rint(backdrop(kind)).astype(np.uint8).tobytes() for kind in KINDS)
    assert hashlib.sha256(drawn).hexdigest().startswith(PLACES)


def test_splits_share_no_scene():
    seen = {split: {(s.kind, s.things, s.columns, s.clarity) for s in _scenes(split, 200)} for split in SPLITS}
    assert all(len(scenes) == 200 for scenes in seen.values())
    assert len(set.union(*seen.values())) == 200 * len(SPLITS)
    assert len({pixels(scene(split, index)).tobytes() for split in SPLITS for index in range(4)}) == 4 * len(SPLITS)


def _scenes(split: str, count: int) -> list:
    return [scene(split, index) for index in range(count)]


def test_names_are_different_and_places_have_ten_of_them():
    assert len(set(THINGS)) == len(THINGS) == sum(len(family) for family in FAMILIES.values())
    assert not set(THINGS) & {*KINDS, *ROWS, *SIDES}
    for kind, expected in KINDS.items():
        assert len(set(expected)) == 10
        assert set(expected) <= set(THINGS)
        for name in expected:
            assert not set(lookalikes(name, kind)) & set(expected)
            assert {*lookalikes(name, kind), name} <= set(members(name))


@pytest.mark.parametrize("split", SPLITS)
def test_a_row_holds_two_things_left_before_right(split):
    for truth in _scenes(split, 200):
        assert len(set(truth.names)) == len(truth.things) == 2 * len(truth.rows)
        assert list(truth.rows) == [row for row in ROWS if row in truth.rows]
        assert [thing.row for thing in truth.things] == [row for row in truth.rows for _ in SIDES]
        for row in truth.rows:
            assert [thing.side for thing in truth.in_row(row)] == list(SIDES)
        pairs = zip(truth.columns[::2], truth.columns[1::2], strict=True)
        assert all(0 <= left < right < COLUMNS for left, right in pairs)
        assert set(absent(truth)) == set(THINGS) - set(truth.names)
        assert set(tempting(truth)) == set(KINDS[truth.kind]) - set(truth.names)


def test_what_is_usual_is_there_in_the_biased_world_and_misleads_in_the_even_one():
    shares = {
        split: np.mean([name in KINDS[truth.kind] for truth in _scenes(split, 300) for name in truth.names])
        for split in SPLITS
    }
    assert all((share > 0.7) == (split in BIASED_SPLITS) for split, share in shares.items()), shares
    assert all(0.03 < shares[split] < 0.2 for split in (*EVEN_SPLITS, REPAINTED)), shares
    assert shares["unusual"] == shares[FOREIGN] == 0


def test_pictures_are_worse_in_training():
    for split in SPLITS:
        share = np.mean([clear < 1 for truth in _scenes(split, 300) for clear in truth.clarity])
        assert share == pytest.approx(UNCLEAR_RATES.get(split, UNCLEAR_RATE), abs=0.04)


def test_frequency_and_company_are_counted_in_the_biased_world():
    single, pairs = statistics()
    assert single.total() == sum(len(scene("train", index).things) for index in range(2000))
    assert pairs["fork", "pizza"] == pairs["pizza", "fork"] > 5 * max(1, pairs["fork", "cow"])


@pytest.mark.parametrize("split", ["test", REPAINTED])
def test_the_picture_shows_the_things_in_their_cells(split):
    for truth in _scenes(split, 20):
        apart = np.abs(pixels(truth).astype(float) - backdrop(truth.kind, split == REPAINTED)).mean(axis=-1)
        cells = apart.reshape(len(ROWS), CELL, COLUMNS, CELL).mean(axis=(1, 3))
        full = {(ROWS.index(thing.row), column) for thing, column in zip(truth.things, truth.columns, strict=True)}
        empty = {(row, column) for row in range(len(ROWS)) for column in range(COLUMNS)} - full
        assert max(cells[place] for place in empty) < min(cells[place] for place in full), truth.id
    assert pixels(truth).shape == (SIDE, SIDE, 3)


def test_every_thing_has_a_picture_of_its_own():
    clear, grey, mean = sprites()
    assert clear.shape == grey.shape == mean.shape == (len(THINGS), CELL, CELL, 4)
    assert len({picture.tobytes() for picture in clear}) == len(THINGS)
    assert clear[..., 3].mean(axis=(1, 2)).min() > 0.05


def test_unknown_scenes_are_refused():
    with pytest.raises(ValueError, match="splits are"):
        scene("validation", 0)
    with pytest.raises(ValueError, match="names no scene"):
        scene_of("COCO_val2014_000000000042")
    assert scene_of("unusual-00003") == scene("unusual", 3)


@pytest.mark.parametrize("split", SPLITS)
def test_a_picture_finds_its_scene(split):
    for index in (0, 7, 29):
        assert find(image(scene(split, index)), split, 30) == scene(split, index)
    assert find(image(scene(split, 30)), split, 30) is None


def test_other_pictures_are_of_no_scene():
    assert find(image(scene("dev", 7)), "test", 10) is None
    assert find(image(scene("dev", 7)).resize((48, 48)), "dev", 10) is None
    assert find(image(scene("dev", 7)).transpose(0), "dev", 10) is None


def test_smaller_worlds_have_fewer_things_and_are_biased_alike():
    for size in MEMBERS:
        things = set(kept(size))
        assert len(things) == size * len(FAMILIES)
        for kind in KINDS:
            expected = usual(kind, size)
            assert len(set(expected)) == USUAL
            assert len({FAMILY_OF[name] for name in expected}) == USUAL, "each has look-alikes that are not usual"
        scenes = [scene(in_world("train", size), index) for index in range(200)]
        assert all(set(truth.names) <= things for truth in scenes)
        share = np.mean([name in truth.usual for truth in scenes for name in truth.names])
        assert abs(share - USUAL_RATE) < 0.05
        missing = [scene(in_world("unusual", size), index) for index in range(50)]
        assert not any(set(truth.names) & set(truth.usual) for truth in missing)
        assert set(absent(scenes[0])) | set(scenes[0].names) == things


def test_more_may_be_seen_badly_in_the_same_scene():
    truths = [scene("train", index) for index in range(200)]
    worse = [with_unclear(truth, 0.7) for truth in truths]
    assert [truth.things for truth in worse] == [truth.things for truth in truths]
    assert worse == [with_unclear(truth, 0.7) for truth in truths]
    assert abs(np.mean([clear < 1 for truth in worse for clear in truth.clarity]) - 0.7) < 0.05


def test_a_repainted_place_is_none_that_a_scene_of_training_shows():
    """However much lighter or darker both are drawn, it has other colours; and it has another pattern."""
    known = np.stack([backdrop(kind) for kind in KINDS])
    for kind in KINDS:
        other = backdrop(kind, repainted=True)
        apart = known - other
        apart -= apart.mean(axis=(1, 2, 3), keepdims=True)
        assert np.abs(apart).mean(axis=(1, 2, 3)).min() > 4, kind
        assert not any(np.array_equal(_edges(other), _edges(place)) for place in known), kind


def _edges(place: np.ndarray) -> np.ndarray:
    """Where an empty place changes from a pixel to the next one across and down."""
    return np.stack([np.abs(np.diff(place, axis=axis)).mean(axis=-1)[: SIDE - 1, : SIDE - 1] > 3 for axis in (0, 1)])


def test_no_everyday_scene_can_have_what_is_held_out_of_its_place():
    """All that may stand in a captioned scene is usual at its place or of the family of something that is."""
    for kind in KINDS:
        captioned = {other for name in usual(kind) for other in members(name)}
        assert not captioned & set(held_out(kind))
        assert len(held_out(kind)) >= 2 * len(ROWS)
    for split in (*BIASED_SPLITS, *EVEN_SPLITS, "unusual", REPAINTED):
        assert not any(set(truth.names) & set(held_out(truth.kind)) for truth in _scenes(split, 500)), split
        assert all(familiar(truth) == truth for truth in _scenes(split, 100)), split
    places = {name: sum(name not in held_out(kind) for kind in KINDS) for name in THINGS}
    assert min(places.values()) > len(KINDS) / 2, "every thing may be at most places"


def test_foreign_scenes_have_nothing_else():
    assert all(set(truth.names) <= set(held_out(truth.kind)) for truth in _scenes(FOREIGN, 400))
    with pytest.raises(ValueError, match="no split"):
        scene(in_world(FOREIGN, MEMBERS[0]), 0)


def test_familiar_scenes_have_none_of_it():
    """Scenes in which anything is anywhere, as training takes them, with as many different things as before."""
    changed = 0
    for number in range(1500):
        for truth in (scene("plain", number), full_scene(number, 0)):
            made = familiar(truth)
            assert not set(made.names) & set(held_out(made.kind))
            assert len(set(made.names)) == len(set(truth.names)) or truth.split == "train"
            kept_as_is = [one == other for one, other in zip(made.things, truth.things, strict=True)]
            assert kept_as_is == [name not in held_out(truth.kind) for name in truth.names]
            changed += not all(kept_as_is)
    assert changed > 500
