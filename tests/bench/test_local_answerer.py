"""Samples whose images worker processes prepare: the same answers, the same refusals, and nothing decoded here."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from mmpref.bench.answers import answer_all
from mmpref.bench.benchmark import Sample
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.errors import ImageError, MmprefError
from mmpref.run.results import ADAPTER
from mmpref.types import ImageData, Message
from mmpref.vlm.policy import Policy
from mmpref.vlm.preprocess import PromptPreprocessor
from mmpref.vlm.preprocessing_pool import PreprocessingPool
from tests.bench.test_replies import picture
from tests.vlm.deadly import Picky
from tests.vlm.tiny import tiny


@pytest.fixture(scope="module")
def policy() -> Policy:
    policy = copy.copy(tiny("llava_next"))
    policy.prompter = Picky(policy.processor)
    return policy


@pytest.fixture(scope="module")
def pool(policy: Policy) -> Iterator[PreprocessingPool]:
    pool = PreprocessingPool(policy.prompter, 1)
    yield pool
    pool.close()


def samples() -> list[Sample]:
    shapes = ((60, 60), (400, 1), (60, 60), (44, 60), (60, 60))
    images = [picture(size, f"row {number}") for number, size in enumerate(shapes)]
    images[3] = ImageData(images[3].content[:60], "row 3")
    asked = ["What is it?", "What is it?", "w1 w2 .", "What is it?", "Is it </s> red?"]
    return [
        Sample(str(number), str(number), image, (Message("user", text),), None)
        for number, (image, text) in enumerate(zip(images, asked, strict=True))
    ] + [
        Sample("text", "text", None, (Message("user", "w3 ?"),), None),
        Sample("system", "0", images[0], (Message("system", "w1 ."), Message("user", "w3 ?")), None),
    ]


def told(answers: list[str | MmprefError]) -> list[str]:
    return [f"{type(answer).__name__} {answer}" for answer in answers]


@pytest.mark.parametrize("blind", [None, "no-image"])
def test_workers_change_no_answer_and_no_refusal(
    policy: Policy, pool: PreprocessingPool, blind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = LocalAnswerer(lambda: policy, blind)(samples(), 5, [ADAPTER])[ADAPTER]
    assert [isinstance(answer, str) for answer in here] == [True, False, True, False, False, True, False]
    ahead = LocalAnswerer(lambda: policy, blind, workers=1)
    monkeypatch.setattr(ahead, "_pool", pool)
    ahead.begin(samples())
    assert told(here)[-1].startswith("ChatTemplateError row 0: the model's chat template refuses it")
    assert told(ahead(samples(), 5, [ADAPTER])[ADAPTER]) == told(here)


def test_nothing_is_prepared_here_beside_workers(
    policy: Policy, pool: PreprocessingPool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [replace(sample, id=f"{sample.id}{again}") for again in "ab" for sample in samples()[:3:2]]
    expected = LocalAnswerer(lambda: policy, None)(asked, 5, [ADAPTER])[ADAPTER]
    ahead = LocalAnswerer(lambda: policy, None, workers=1)
    monkeypatch.setattr(ahead, "_pool", pool)
    begun: list[int] = []
    begin = ahead.begin
    monkeypatch.setattr(ahead, "begin", lambda batch: (begun.append(len(batch)), begin(batch)))

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("decoded or preprocessed in this process")

    monkeypatch.setattr(Image, "open", refused)
    monkeypatch.setattr(PromptPreprocessor, "prepare", refused)
    monkeypatch.setattr("mmpref.bench.answers._by_image", lambda given: given)
    files = {ADAPTER: tmp_path / "answers.jsonl"}
    assert answer_all(ahead, asked, 5, files, 1, None)[ADAPTER] == expected
    assert begun == [1, 1, 1, 1]


def test_an_image_that_ends_its_process_is_missing_and_no_other(
    policy: Policy, pool: PreprocessingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = Sample("d", "d", picture((40, 13), "row 9"), (Message("user", "What is it?"),), None)
    ahead = LocalAnswerer(lambda: policy, None, workers=1)
    monkeypatch.setattr(ahead, "_pool", pool)
    first, missing, last = ahead([samples()[0], deadly, samples()[2]], 5, [ADAPTER])[ADAPTER]
    assert isinstance(missing, ImageError)
    assert str(missing) == "row 9 ends the process that preprocesses it."
    assert [first, last] == LocalAnswerer(lambda: policy, None)(samples()[:3:2], 5, [ADAPTER])[ADAPTER]
