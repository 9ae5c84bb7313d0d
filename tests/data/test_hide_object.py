"""hide-object: what is hidden, and what of the answers about the rest becomes a pair."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmpref.data.build import build_dataset
from mmpref.data.builder import BUILDERS, Context
from mmpref.data.recipe import BuildRecipe
from mmpref.data.shards import Blocks
from mmpref.data.sources import Source
from mmpref.data.validation_split import image_keys
from mmpref.errors import UsageError
from mmpref.images import decode
from mmpref.judges import detectors
from mmpref.judges.detectors import open_detector
from mmpref.rng import stream
from mmpref.sampling.answers import sample_answers
from mmpref.sampling.resample import Draft, next_sentences
from mmpref.sampling.sentences import split
from mmpref.tables.open import open_table
from mmpref.testbed import language, oracle
from mmpref.types import Example, ImageData, Pair, Skip, context_of
from mmpref.vlm.encode import encode
from mmpref.vlm.policy import Policy
from mmpref.vlm.token_places import coverage

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
SETTINGS: dict[str, Any] = {
    "similarity_model": EMBEDDER,
    "synonyms": "pkg:mmpref.testbed/synonyms.txt",
    "detector": "testbed-oracle",
    "samples": 6,
    "temperature": 1.5,
    "max_answer_tokens": 48,
    "max_sentence_tokens": 24,
}


@pytest.fixture(scope="module")
def captions() -> list[Example]:
    [(_, block)] = Source([open_table("testbed-objects")], limit=60).blocks(60, lambda _: True)
    asked = [row for row in block if isinstance(row, Example) and row.prompt[-1].content in language.CAPTION_PROMPTS]
    return asked[:16]


def worker_of(policy: Policy, **settings: Any) -> Any:
    builder = BUILDERS.get("hide-object")
    return builder.worker(Context(lambda: policy, policy.ref, 0, 0), builder.config()(**{**SETTINGS, **settings}))


@pytest.mark.parametrize("hide", ["tokens", "pixels"])
def test_rejected_sentences_name_what_is_hidden_and_chosen_ones_what_is_left(
    policy: Policy, captions: list[Example], hide: str
) -> None:
    outcomes = worker_of(policy, hide=hide)(captions)
    made = [one for one in outcomes if isinstance(one, Pair)]
    assert len(made) >= 2
    for pair in made:
        truth = oracle.scene_of(pair.example.id)
        whole = np.asarray(decode(next(one for one in captions if one.id == pair.example.id).images[0]))
        painted = np.asarray(decode(pair.example.images[0]))
        gone = [
            name
            for name, [(left, top, right, bottom)] in oracle.boxes(truth).items()
            if np.ptp(painted[round(top * 96) : round(bottom * 96), round(left * 96) : round(right * 96)], (0, 1)).max()
            == 0
        ]
        assert len(gone) == 1
        assert (whole != painted).any(axis=2).sum() <= 32 * 32, "nothing else has changed"
        assert gone[0] in oracle.mentions(pair.rejected)
        for text in (context_of(pair.example.prompt), pair.chosen):
            assert gone[0] not in oracle.mentions(text)
            assert not oracle.judge(text, truth).hallucinated
        assert oracle.mentions(pair.chosen)
    assert {one.reason for one in outcomes if isinstance(one, Skip)} <= {"not-said", "one-sided", "no-objects"}
    assert worker_of(policy, hide=hide, batch_size=5)(captions[10:]) == outcomes[10:]


def naive(policy: Policy, example: Example, hide: str) -> tuple[bytes, str, str, str] | str:
    """The painted image's pixels, context, chosen and rejected, or why there is none: one example alone, one branch at
    a time, by what the scene has in it."""
    boxes = {name: box for name, [box] in oracle.boxes(oracle.scene_of(example.id)).items()}

    def area(box: Any) -> float:
        return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

    names = sorted(name for name in example.objects if area(boxes[name]) <= 0.5)
    gone = names[int(stream(0, example.id, "object").integers(len(names)))]
    left, top, right, bottom = hidden = boxes[gone]
    pixels = np.asarray(decode(example.images[0])).copy()
    high, wide, _ = pixels.shape
    colour = [round(value) for value in pixels.reshape(-1, 3).mean(0)]
    pixels[int(top * high) : round(bottom * high), int(left * wide) : round(right * wide)] = colour
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    painted = replace(example, images=(ImageData(buffer.getvalue(), "x"),))
    [prompt] = encode(policy, [policy.prompter(painted if hide == "pixels" else example)])
    if hide == "tokens":
        visible = coverage(policy, example.prompt, (wide, high), [hidden]) < 0.25
        if visible.all():
            return "no-objects"
        prompt = prompt.drop(visible, "original")

    def is_clean(text: str) -> bool:
        """It names what is there, and less than half of which is painted over."""
        for name in oracle.mentions(text):
            if name == gone or name not in boxes:
                return False
            a, b, c, d = boxes[name]
            if 2 * area((max(a, left), max(b, top), min(c, right), min(d, bottom))) >= area(boxes[name]):
                return False
        return True

    settings = BUILDERS.get("hide-object").config()(**SETTINGS)
    [answers] = sample_answers(policy, [prompt], [example.id], settings.decoding(48, 0), SETTINGS["samples"], width=1)
    for answer in answers:
        parts = [] if answer.cut else split(answer.text)
        place = next((number for number, part in enumerate(parts) if gone in oracle.mentions(part)), None)
        if place is not None and is_clean("".join(parts[:place])):
            break
    else:
        return "not-said"
    before = "".join(parts[:place])
    context, rejected = before.rstrip(), (before + parts[place]).rstrip()[len(before.rstrip()) :]
    draft = Draft(example, prompt, context)
    [drawn] = next_sentences(policy, [draft], settings.decoding(24, 0), SETTINGS["samples"], width=1)
    for sentence in drawn:
        if sentence and oracle.mentions(sentence) and is_clean(sentence):
            texts = (sentence, rejected) if context else (sentence.lstrip(), rejected.lstrip())
            return pixels.tobytes(), context, *texts
    return "one-sided"


@pytest.mark.parametrize("hide", ["tokens", "pixels"])
def test_pairs_are_those_of_a_plain_loop(policy: Policy, captions: list[Example], hide: str) -> None:
    outcomes = worker_of(policy, hide=hide)(captions[:4])
    made = [
        one.reason
        if isinstance(one, Skip)
        else (
            np.asarray(decode(one.example.images[0])).tobytes(),
            context_of(one.example.prompt),
            one.chosen,
            one.rejected,
        )
        for one in outcomes
    ]
    assert made == [naive(policy, example, hide) for example in captions[:4]]
    assert {type(one) for one in outcomes} == {Pair, Skip}


@pytest.mark.parametrize("hide", ["tokens", "pixels"])
def test_only_images_that_are_asked_about_are_preprocessed_and_the_detector_is_opened_once(
    policy: Policy, captions: list[Example], hide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, begun, asked = [], [], []
    monkeypatch.setattr(detectors, "open_detector", lambda name: opened.append(name) or open_detector(name))
    worker = worker_of(policy, hide=hide, samples=2)
    ahead = worker.ahead

    class Ahead:
        def begin(self, examples: list[Example]) -> None:
            begun.extend(one.id for one in examples)

        def __call__(self, example: Example) -> Any:
            asked.append(example.id)
            return ahead(example)

    worker.ahead = Ahead()
    none_found = replace(captions[0], id="other", objects=("no such thing",))
    for block in ([captions[0], none_found], [captions[1]]):
        worker.begin(block)
        worker(block)
    assert begun == asked == [one.id for one in captions[:2] if hide == "tokens"]
    assert opened == ["testbed-oracle"]


def test_what_is_too_small_to_hide_gives_no_pair(policy: Policy, captions: list[Example]) -> None:
    for hide, box in (("tokens", (0.5, 0.5, 0.51, 0.51)), ("pixels", (0.5, 0.5, 0.5001, 0.5001))):
        outcome = worker_of(policy, hide=hide)._hide(captions[0], "cup", [box])
        assert (outcome.reason, outcome.detail) == ("no-objects", "'cup' is too small to hide")


def test_what_is_painted_over_with_the_object_is_not_there(policy: Policy, captions: list[Example]) -> None:
    worker = worker_of(policy, hide="pixels")
    ((name, [box]), (other, [beside]), *_) = oracle.boxes(oracle.scene_of(captions[0].id)).items()
    text = f"There is a {other}."
    one = worker._hide(captions[0], name, [box])
    assert worker._clean([one], [[text]]) == [[True]]
    both = worker._hide(captions[0], name, [box, beside])
    assert worker._clean([both], [[text]]) == [[False]]


def test_rows_of_one_photograph_stay_in_one_split(policy: Policy, captions: list[Example], tmp_path: Path) -> None:
    boxes = [box for [box] in oracle.boxes(oracle.scene_of(captions[0].id)).values()][:2]
    hidden = [worker_of(policy, hide="pixels")._hide(captions[0], "it", [box]).example for box in boxes]
    blocks = Blocks(tmp_path, keys=True)
    blocks.write(0, [[Pair(example, "A saw.", "hide-object", None, 1, 0)] for example in hidden])
    first, second = map(set, blocks.describe(0)["keys"])
    assert first & second >= set(image_keys(captions[0].images))


def test_impossible_settings_are_refused() -> None:
    for settings, message in (
        ({"synonyms": None}, "needs a table of synonyms"),
        ({"covered": 0.0}, "covered"),
        ({"max_area": 2.0}, "max_area"),
        ({"max_sentence_tokens": 0}, "max_sentence_tokens"),
    ):
        with pytest.raises(UsageError, match=message):
            BUILDERS.get("hide-object").config()(**{**SETTINGS, **settings})


@pytest.mark.long
def test_some_rows_give_a_pair_and_shards_give_the_same_bytes(tmp_path: Path) -> None:
    recipe = BuildRecipe(
        MODEL, "testbed-objects", "hide-object", where=("length >= 12",), limit=40, block_size=20, builder=SETTINGS
    )
    assert build_dataset(recipe, tmp_path / "whole")["counts"]["rows"] >= 4
    for index in (1, 0):
        build_dataset(recipe, tmp_path / "split", shard=(index, 2))
    files = [sorted((tmp_path / name / "data").glob("*.parquet")) for name in ("whole", "split")]
    assert files[0]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


def test_listed_objects_are_read_as_answers_are(policy: Policy, captions: list[Example]) -> None:
    worker = worker_of(policy)
    assert worker._names(replace(captions[0], objects=("Cups", "cup", "gizmo"))) == ["cup"]
    assert worker.notes() == {"objects_listed": 3, "objects_unknown": 1}
