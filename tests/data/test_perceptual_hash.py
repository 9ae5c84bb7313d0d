"""One picture saved twice is known again, and pictures of one kind are told apart."""

from __future__ import annotations

import importlib.util
import io
import json
import weakref
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mmpref.data.contamination import EXCLUDED
from mmpref.data.perceptual_hash import NearIndex, PerceptualHash
from mmpref.data.validation_split import image_keys, validation_mask
from mmpref.types import Example, ImageData, Message, Skip
from tests.data.pictures import excluding

SCRIPT = Path(__file__).parents[2] / "scripts/check_near_duplicates.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_near_duplicates", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def picture(check: ModuleType, kind: str, number: int) -> Image.Image:
    return check.KINDS[kind](np.random.default_rng([9, number]))


@cache
def draw(check: ModuleType, kind: str, number: int) -> ImageData:
    return check.saved(picture(check, kind, number))


@cache
def hashed(check: ModuleType, kind: str, number: int) -> PerceptualHash:
    return PerceptualHash.of(draw(check, kind, number))


def changed(check: ModuleType, change: str, number: int) -> ImageData:
    """A photograph, saved again."""
    return check.CHANGES[change](picture(check, "photographs", number))


def test_the_recorded_rates_hold(check: ModuleType) -> None:
    recorded = json.loads(SCRIPT.with_suffix(".json").read_text(encoding="utf-8"))["kinds"]
    assert recorded.keys() == check.KINDS.keys()
    assert max(kind["called copies"] for kind in recorded.values()) < 0.1
    changes = ["JPEG 20", "0.6, JPEG 60", "5 % off"]
    for name, kind in check.measure(12, 3, changes)["kinds"].items():
        assert kind["called copies"] == 0, name
        for change in changes:
            assert abs(kind["missed"][change] - recorded[name]["missed"][change]) <= 0.5, (name, change)


@pytest.mark.parametrize(
    "change", ["JPEG 90", "JPEG 20", "WebP 50", "GIF", "half", "a quarter", "336 x 336", "brighter", "2 % off"]
)
def test_a_photograph_is_known_again(check: ModuleType, change: str) -> None:
    index = NearIndex(hashed(check, "photographs", number) for number in range(6))
    for number in range(6):
        assert list(index.near(PerceptualHash.of(changed(check, change, number)))) == [number]


def test_pictures_of_little_information_are_told_apart(check: ModuleType) -> None:
    for kind in ("bar charts", "pages of text", "flat colours", "forms filled in"):
        index = NearIndex()
        for number in range(30):
            one = hashed(check, kind, number)
            assert not list(index.near(one)), kind
            index.add(one)
        again = check.saved(check.KINDS[kind](np.random.default_rng([9, 7])))
        assert list(index.near(PerceptualHash.of(again))) == [7], "the same pixels are the same"


def test_nearness_goes_both_ways_and_hashes_survive_as_text(check: ModuleType) -> None:
    hashes = [hashed(check, kind, number) for kind in check.KINDS for number in range(3)]
    hashes += [PerceptualHash.of(changed(check, "half", number)) for number in range(3)]
    hashes = [PerceptualHash.parse(str(one)) for one in hashes]
    near = {(first, second) for first, one in enumerate(hashes) for second in NearIndex(hashes).near(one)}
    assert near == {(second, first) for first, second in near}
    assert len(near) == len(hashes) + 6


def test_an_index_grows(check: ModuleType) -> None:
    one, other = (hashed(check, "photographs", number) for number in range(2))
    index = NearIndex([one] * 40)
    index.add(other)
    assert len(index) == 41
    assert list(index.near(one)) == list(range(40))
    assert list(index.near(other)) == [40]


def test_a_photograph_saved_twice_stands_on_one_side(check: ModuleType) -> None:
    files = [draw(check, "photographs", number) for number in range(20)]
    again = [changed(check, "0.6, JPEG 60", number) for number in range(20)]
    rows = [image_keys([file]) for file in (*files, *again)]
    held = validation_mask(rows, 0.5, 0)
    assert held[:20] == held[20:]
    assert 3 < sum(held[:20]) < 17
    assert validation_mask(rows[::-1], 0.5, 0)[::-1] == held
    charts = [image_keys([draw(check, "bar charts", number)]) for number in range(20)]
    assert 3 < sum(validation_mask(charts, 0.5, 0)) < 17


def test_charts_of_an_evaluation_set_leave_the_other_charts_in(check: ModuleType) -> None:
    excluded = excluding(draw(check, "bar charts", number) for number in range(20))
    turn = (Message("user", "What?"),)
    for number in range(15, 40):
        made = excluded(Example("one", (draw(check, "bar charts", number),), turn, "A.", "x/train/0"))
        assert isinstance(made, Skip) == (number < 20)
        assert not isinstance(made, Skip) or made.reason == EXCLUDED


def test_the_hash_of_an_image_is_made_once_while_it_is_held() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    image = ImageData(buffer.getvalue(), "red.png")
    made = PerceptualHash.of(image)
    assert PerceptualHash.of(image) is made
    held = weakref.ref(made)
    again = PerceptualHash.of(ImageData(buffer.getvalue(), "other.png"))
    assert again == made
    del image, made
    assert held() is None
