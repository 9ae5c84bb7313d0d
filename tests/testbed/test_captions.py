"""Captions vary as people's do: in what they say first, how they say it, and how much."""

from __future__ import annotations

import dataclasses
import statistics
from collections import defaultdict

import pytest

from mmpref.testbed.language import caption
from mmpref.testbed.world import scene

SCENES = 2000


@pytest.mark.parametrize("split", ["train", "test", "usual"])
def test_captions_have_two_to_four_sentences_of_various_length(split: str) -> None:
    captions = [caption(scene(split, index)) for index in range(SCENES)]
    assert {text.count(".") for text in captions} == {2, 3, 4}
    words = [len(text.split()) for text in captions]
    assert statistics.pstdev(words) > 5, "measured: 5.2 to 5.3"
    assert (min(words), max(words)) == (20, 36 + (split == "train"))


def test_scenes_of_the_same_things_are_described_differently() -> None:
    by_things: dict[frozenset[str], list[str]] = defaultdict(list)
    for index in range(SCENES):
        by_things[frozenset(scene("train", index).names)].append(caption(scene("train", index)))
    again = [captions for captions in by_things.values() if len(captions) > 1]
    assert sum(map(len, again)) == 96, "scenes whose things another has, too"
    assert all(len(set(captions)) == len(captions) for captions in again)


def test_one_scene_is_described_in_many_ways() -> None:
    """Of 50 drawn captions of each scene: the share that is like none before."""
    shares = []
    for index in range(100):
        one = scene("train", index)
        shares.append(len({caption(dataclasses.replace(one, index=drawn)) for drawn in range(50)}) / 50)
    assert statistics.fmean(shares) > 0.58, "measured: 0.61"
    assert min(shares) > 0.4, "measured: 0.50"
