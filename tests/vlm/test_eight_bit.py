"""Pixels that travel as 8-bit values are the processor's own at the end, to the last bit."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend

from mmpref.errors import ImageError
from mmpref.types import Example, ImageData, Message
from mmpref.vlm.eight_bit import EightBit, eight_bit
from mmpref.vlm.preprocess import PromptPreprocessor
from mmpref.vlm.preprocessing_pool import PreprocessingPool, _Prepare, _prompts_of
from tests.vlm.tiny import tiny

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def example(*sizes: tuple[int, int]) -> Example:
    images = []
    for number, (width, height) in enumerate(sizes):
        buffer = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        images.append(ImageData(buffer.getvalue(), f"{number}.png"))
    return Example("e", tuple(images), (Message("user", "describe the picture ."),), "w1 .", "")


@pytest.mark.parametrize(
    ("name", "keeps"),
    [
        ("llava", True),
        ("llava_next", True),
        ("llava_onevision", True),
        ("gemma3", True),
        ("janus", True),
        ("idefics3", False),  # tiles are filled up to one size, which takes a copy of each
        ("paligemma", True),
        ("qwen2_vl", False),  # patches are in another order than the image
    ],
)
@pytest.mark.parametrize("sizes", [((40, 24),), ((16, 16),), ((40, 24), (90, 20))], ids=str)
def test_families_get_the_same_bits(name: str, keeps: bool, sizes: tuple[tuple[int, int], ...]) -> None:
    prompter, one = tiny(name).prompter, example(*sizes)
    expected, work = prompter(one), _Prepare(prompter)
    [packed] = work(_prompts_of(one))
    if len(sizes) == 1:
        assert isinstance(packed["pixel_values"], EightBit) == keeps
        assert packed["pixel_values"].values.dtype == np.uint8 if keeps else True
    got = PreprocessingPool(prompter, 0)(one)
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key].dtype == value.dtype
        assert torch.equal(got[key], value)
    assert not {"rescale", "normalize"} & vars(prompter.processor.image_processor).keys()


def test_a_quarter_of_the_bytes_travels() -> None:
    prompter, one = tiny("llava_next").prompter, example((40, 24))
    [packed] = _Prepare(prompter)(_prompts_of(one))
    floats = prompter(one)["pixel_values"].nbytes
    assert packed["pixel_values"].values.nbytes * 4 == floats


def test_images_that_are_filled_up_with_others_are_not_eight_bit() -> None:
    """The zeros behind an image of fewer tiles are no pixels."""
    prompter, one = tiny("llava_next").prompter, example((40, 24), (90, 20))
    shapes = prompter(one)["pixel_values"]
    assert (shapes == 0).flatten(2).all(-1).any()
    work = _Prepare(prompter)
    [packed] = work(_prompts_of(one))
    assert isinstance(packed["pixel_values"], np.ndarray)
    assert np.array_equal(packed["pixel_values"], shapes.numpy())


class Doubling(PilBackend):
    """Its pixels are twice what normalising gives."""

    def _preprocess(self, images: Any, **settings: Any) -> Any:
        made = super()._preprocess(images, **settings)
        made["pixel_values"] = made["pixel_values"] * 2
        return made


class Adding(PilBackend):
    """What it does after normalising fails on integers."""

    def _preprocess(self, images: Any, **settings: Any) -> Any:
        made = super()._preprocess(images, **settings)
        made["pixel_values"] += 0.5
        return made


@pytest.mark.parametrize("kind", [Doubling, Adding])
def test_a_processor_that_does_more_to_its_pixels_keeps_doing_it(kind: type[PilBackend]) -> None:
    prompter = PromptPreprocessor(tiny("llava").prompter.processor)
    own = prompter.processor.image_processor
    settings = {
        "do_rescale": True,
        "do_normalize": True,
        "do_resize": True,
        "resample": 3,
        "size": {"height": 16, "width": 16},
    }
    try:
        prompter.processor.image_processor = kind(
            **settings, image_mean=MEAN, image_std=STD, rescale_factor=1 / 255, do_convert_rgb=True
        )
        one = example((40, 24))
        expected, got = prompter(one), PreprocessingPool(prompter, 0)(one)
    finally:
        prompter.processor.image_processor = own
    assert expected["pixel_values"].is_floating_point()
    assert torch.equal(got["pixel_values"], expected["pixel_values"])


def test_a_broken_image_does_not_end_it() -> None:
    work = _Prepare(tiny("llava_next").prompter)
    with pytest.raises(ImageError):
        work(_prompts_of(Example("x", (ImageData(b"none", "x"),), (Message("user", "w1"),), "w1", "")))
    [packed] = work(_prompts_of(example((40, 24))))
    assert isinstance(packed["pixel_values"], EightBit)


@pytest.mark.parametrize("scale", [1 / 255, 1 / 127.5, 0.7])
@pytest.mark.parametrize("normalizes", [True, False])
def test_the_table_is_what_the_operations_give(scale: float, normalizes: bool) -> None:
    processor = PilBackend()
    tiles = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 24), dtype=np.uint8)

    def made() -> torch.Tensor:
        done = [processor.rescale(tile, scale) for tile in tiles]
        return torch.from_numpy(np.array([processor.normalize(t, MEAN, STD) if normalizes else t for t in done]))

    expected = made()
    with eight_bit(processor) as kept:
        together = made()  # all are rescaled before the first is normalised
        assert (kept.pixels([{"pixel_values": together}]) is None) == normalizes
    with eight_bit(processor) as kept:
        each = [processor.rescale(tile, scale) for tile in tiles[:1]]
        each = [processor.normalize(tile, MEAN, STD) if normalizes else tile for tile in each]
        values = torch.from_numpy(np.array(each))
        found = kept.pixels([{"pixel_values": values}])
    assert found is not None
    again = pickle.loads(pickle.dumps(found[id(values)]))
    assert torch.equal(torch.from_numpy(again.floats()), expected[:1])
