"""Preprocessing ahead of the model in worker processes: the same inputs, and a death costs one example."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from mmpref.errors import ImageError, RunError
from mmpref.types import Example, ImageData, Message
from mmpref.vlm.preprocess import PromptPreprocessor, preprocess
from mmpref.vlm.preprocessing_pool import ImagePrompts, PreprocessingPool
from tests.vlm.deadly import Deadly
from tests.vlm.tiny import tiny


def example(name: str, side: int = 24) -> Example:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(side).integers(0, 256, (side, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return Example(name, (ImageData(buffer.getvalue(), name),), (Message("user", "describe"),), "w1 .", name)


@pytest.fixture(scope="module")
def prompter() -> PromptPreprocessor:
    return tiny("llava_next").prompter


@pytest.fixture(scope="module")
def ahead(prompter: PromptPreprocessor) -> Iterator[PreprocessingPool]:
    """One process, which takes seconds to start."""
    with contextlib.closing(PreprocessingPool(prompter, 1)) as pool:
        yield pool


def test_workers_give_the_same_inputs(prompter: PromptPreprocessor, ahead: PreprocessingPool) -> None:
    examples = [example(f"e{side}", side) for side in (16, 24, 40)]
    ahead.begin(examples[:2])
    for one in examples:
        ours, expected = ahead(one), prompter(one)
        assert ours.keys() == expected.keys()
        assert all(torch.equal(ours[name], expected[name]) for name in ours)


@pytest.mark.long
def test_an_image_that_kills_its_process_costs_that_example_only(prompter: PromptPreprocessor) -> None:
    examples = [example("a"), example("deadly", 13), example("b", 32), example("c", 40)]
    ahead = PreprocessingPool(Deadly(prompter.processor), 2)
    try:
        ahead.begin(examples)
        assert ahead(examples[0])
        with pytest.raises(ImageError, match="deadly"):
            ahead(examples[1])
        assert ahead(examples[2])
        assert ahead(examples[3])
    finally:
        ahead.close()


@pytest.mark.long
def test_a_worker_that_is_killed_or_short_of_memory_costs_no_example(prompter: PromptPreprocessor) -> None:
    """Its row would be missing here, and not on a machine with more memory."""
    ahead = PreprocessingPool(Deadly(prompter.processor), 1)
    try:
        ahead.begin([example("a"), example("b", 32)])
        time.sleep(0.1)
        for worker in multiprocessing.active_children():
            worker.kill()
        assert ahead(example("a"))
        assert ahead(example("b", 32))
        with pytest.raises(RunError, match=r"killed twice.*too little memory: use fewer --workers"):
            ahead(example("killed", 14))
        with pytest.raises(MemoryError):
            ahead(example("large", 15))
    finally:
        ahead.close()


@pytest.mark.parametrize("size", [(1, 400), (400, 1)])
def test_an_image_that_the_processor_does_not_take(size: tuple[int, int]) -> None:
    """Qwen2-VL refuses shapes of more than 200 to 1; that is said of the image, in whatever process and command."""
    policy = tiny("qwen2_vl")
    narrow, question = Image.new("RGB", size), (Message("user", "describe"),)
    says = rf"an image of {size[0]} x {size[1]} pixels is none for this model: absolute aspect ratio"
    with pytest.raises(ImageError, match=says):
        policy.prompter.prepare(question, [narrow])
    with pytest.raises(ImageError, match=says):
        policy.prompter.prepare_all([question, (Message("user", "w1"),)], [narrow])
    fine = Image.new("RGB", (24, 40))
    with pytest.raises(ImageError, match=says):  # of a batch, the one that it is
        preprocess(policy.processor, [policy.render(question, 1)] * 2, [[fine], [narrow]], return_tensors="pt")
    assert policy.prompter.prepare(question, [fine])


def test_a_fault_of_the_text_is_not_the_images(prompter: PromptPreprocessor) -> None:
    with pytest.raises(ValueError, match="number of <image> tokens"):
        prompter.prepare((Message("user", "describe <image>"),), [Image.new("RGB", (24, 40))])


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_images_reach_the_processor_as_rgb(prompter: PromptPreprocessor, mode: str) -> None:
    image = Image.effect_noise((24, 40), 80).convert(mode)
    ours = prompter.prepare((Message("user", "describe"),), [image])["pixel_values"]
    assert torch.equal(ours, prompter.prepare((Message("user", "describe"),), [image.convert("RGB")])["pixel_values"])


def test_prompts_about_one_image_share_its_pixels(prompter: PromptPreprocessor, ahead: PreprocessingPool) -> None:
    one = example("e", 24)
    asked = ImagePrompts(one.images, tuple((Message("user", text),) for text in ("describe", "w1 w2 .", "w3")))
    ahead.begin_all([asked])
    made = ahead.prepare_all(asked)
    assert len({inputs["pixel_values"].data_ptr() for inputs in made}) == 1
    for inputs, expected in zip(made, PreprocessingPool(prompter, 0).prepare_all(asked), strict=True):
        assert all(torch.equal(inputs[name], expected[name]) for name in expected)


def test_a_processor_that_cannot_travel_works_here(caplog: pytest.LogCaptureFixture) -> None:
    policy = tiny("qwen2_vl")  # whose class is made in the test
    pool = PreprocessingPool(policy.prompter, 2)
    assert pool.workers == 0
    assert "images are preprocessed by this process alone: its processor cannot go to others" in caplog.text
    pool.begin([example("e", 24)])
    assert pool(example("e", 24))


def test_a_broken_image_is_told_as_such(prompter: PromptPreprocessor, ahead: PreprocessingPool) -> None:
    broken = Example("x", (ImageData(b"no image", "x.png"),), (Message("user", "describe"),), "w1", "x")
    for pool in (PreprocessingPool(prompter, 0), ahead):
        with pytest.raises(ImageError, match=r"x\.png"):
            pool(broken)
