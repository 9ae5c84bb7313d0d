"""Quicker arithmetic in image processors changes no byte of what they make."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import SizeDict

from mmpref.types import Message
from mmpref.vlm import preprocess
from mmpref.vlm.pixel_arithmetic import quick_arithmetic
from tests.vlm.tiny import tiny

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


@pytest.mark.parametrize("name", ["llava", "llava_next", "qwen2_vl", "gemma3", "idefics3"])
def test_families_get_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prompter = tiny(name).prompter
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    asked = ((Message("user", "describe the picture ."),), [Image.fromarray(pixels)])
    quick = prompter.prepare(*asked)
    assert not {"resize", "rescale", "normalize"} & vars(prompter.processor.image_processor).keys()
    monkeypatch.setattr(preprocess, "quick_arithmetic", lambda _: contextlib.nullcontext())
    slow = prompter.prepare(*asked)
    assert quick.keys() == slow.keys()
    assert all(torch.equal(quick[key], slow[key]) for key in slow)


def images() -> list[Any]:
    values = np.random.default_rng(1).integers(0, 256, (3, 16, 24), dtype=np.uint8)
    grey = values[:1]
    return [values, grey, values.astype(np.float32), values.astype(np.float32) / 255, values.astype(np.float64)]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("scale", [1 / 255, 0.00392156862745098, 1 / 127.5, 1 / 256, 0.7])
def test_every_operation_gives_what_transformers_gives(number: int, scale: float) -> None:
    images_processor, image = PilBackend(), images()[number]
    sizes = [
        SizeDict(height=16, width=24),
        SizeDict(height=8, width=24),
        SizeDict(shortest_edge=16),
        SizeDict(shortest_edge=16, longest_edge=20),
        SizeDict(max_height=12, max_width=12),
    ]
    work = {
        "rescale": lambda: images_processor.rescale(image, scale),
        "normalize": lambda: images_processor.normalize(image, MEAN[: len(image)], STD[: len(image)]),
        "normalize by one": lambda: images_processor.normalize(image, 0.5, 0.5),
        **{str(size): (lambda size=size: images_processor.resize(image, size)) for size in sizes},
    }
    for name, operation in work.items():
        expected = operation()
        with quick_arithmetic(images_processor):
            got = operation()
        assert got.dtype == expected.dtype, name
        assert np.array_equal(got, expected), name


def test_a_class_with_operations_of_its_own_keeps_them() -> None:
    class Own(PilBackend):
        def rescale(self, image: Any, scale: float, **_: Any) -> Any:
            return "its own"

    own = Own()
    with quick_arithmetic(own):
        assert own.rescale(images()[0], 1 / 255) == "its own"
    with quick_arithmetic(None):
        pass
