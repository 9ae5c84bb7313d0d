"""An image that shows a row's own picture, saved again, is no other image: for no method that takes another row's."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from mmpref.data.builder import BUILDERS, Context
from mmpref.data.perceptual_hash import PerceptualHash
from mmpref.data.pictures import Pictures
from mmpref.types import Example, ImageData, Message, ModelRef, Pair, Skip
from mmpref.vlm.load import load_policy
from tests.data.pictures import picture

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"


def saved_again(content: bytes, form: str, **saving: int) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(buffer, form, **saving)
    return buffer.getvalue()


def examples(pictures: Sequence[bytes]) -> list[Example]:
    return [
        Example(
            f"row{number}",
            (ImageData(content, f"{number}"),),
            (Message("user", "Describe the image."),),
            f"At the back there is a cat, and {number} dogs.",
            f"x/train/{number}",
        )
        for number, content in enumerate(pictures)
    ]


COPIES = [picture(1), saved_again(picture(1), "JPEG", quality=95), saved_again(picture(1), "JPEG", quality=80)]


def test_copies_are_no_other_pictures_and_each_image_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []
    of = PerceptualHash.of

    def counting(image: ImageData) -> PerceptualHash:
        hashed.append(image.content)
        return of(image)

    monkeypatch.setattr(PerceptualHash, "of", counting)
    block, following = examples([*COPIES, picture(2), COPIES[0]]), examples([picture(3), picture(4)])
    pictures = Pictures()
    assert pictures.others(block) == [[3], [3], [3], [0, 1, 2, 4], [3]]
    assert pictures.shared(block) == [{0, 1, 2, 4}] * 3 + [{3}, {0, 1, 2, 4}]
    assert pictures.groups(block) == [0, 0, 0, 3, 0]
    for again in (following, block, following):
        pictures.others(again)
    assert len(hashed) == len(set(hashed)) == 6


def several(*sets: tuple[ImageData, ...]) -> list[Example]:
    """A block of examples with these images."""
    return [replace(row, images=images) for row, images in zip(examples([b""] * len(sets)), sets, strict=True)]


def test_of_several_images_none_may_be_in_common() -> None:
    one, again, two, three = (ImageData(content) for content in (COPIES[0], COPIES[1], picture(2), picture(3)))
    block = several((one, two), (again, three), (three, one), (one,), (three, three), (two, two), ())
    assert Pictures().others(block) == [[4], [5], [5], [], [0, 5], [1, 2, 4], []]
    assert Pictures().shared(block)[3] == {0, 1, 2, 3}


@pytest.mark.parametrize("images", [((0, 1), (1, 0)), ((0,), (0, 1)), ((0, 1), (1, 2))])
def test_mismatched_takes_no_answer_about_a_picture_that_both_rows_show(images: Sequence[Sequence[int]]) -> None:
    builder = BUILDERS.get("mismatched")
    block = several(*(tuple(ImageData(picture(number)) for number in numbers) for numbers in images))
    made = builder.worker(Context(lambda: pytest.fail("no model"), None, 0), builder.config()())(block)
    assert [one.reason for one in made if isinstance(one, Skip)] == ["no-partner"] * 2


def test_what_cannot_be_decoded_is_the_same_only_as_itself() -> None:
    assert Pictures().others(examples([b"no image", b"no image", b"another", picture(1)])) == [
        [2, 3],
        [2, 3],
        [0, 1, 3],
        [0, 1, 2],
    ]


@pytest.mark.parametrize("method", ["other-image", "same-kind"])
def test_a_model_is_shown_no_copy(method: str) -> None:
    policy = load_policy(ModelRef(MODEL))
    builder = BUILDERS.get(method)
    worker = builder.worker(
        Context(lambda: policy, policy.ref, 0, 0),
        builder.config()(similarity_model=EMBEDDER, max_answer_tokens=8, keep_cut_off=True),
    )
    shown = worker.model_inputs(examples([*COPIES, picture(2)]))  # type: ignore[attr-defined]
    assert [one.images[0].name for one in shown[:3]] == ["3"] * 3
    alone = worker(examples(COPIES))
    assert [one.reason for one in alone if isinstance(one, Skip)] == ["no-partner"] * 3


def test_mismatched_takes_no_answer_about_the_same_picture() -> None:
    builder = BUILDERS.get("mismatched")
    block = examples([*COPIES, picture(2)])
    for seed in range(10):
        made = builder.worker(Context(lambda: pytest.fail("no model"), None, seed), builder.config()())(block)
        assert [one.rejected for one in made[:3] if isinstance(one, Pair)] == [block[3].answer] * 3
    alone = builder.worker(Context(lambda: pytest.fail("no model"), None, 0), builder.config()())(block[:3])
    assert [one.reason for one in alone if isinstance(one, Skip)] == ["no-partner"] * 3


def test_rows_that_are_linked_by_pictures_are_one_group() -> None:
    first, second, blank = examples([picture(1), picture(2), b"no image"])
    both = replace(first, images=(*second.images, *first.images))
    block = [first, second, replace(first, images=()), blank, both, second, replace(blank, images=())]
    assert Pictures().groups(block) == [0, 0, 2, 3, 0, 0, 6]
