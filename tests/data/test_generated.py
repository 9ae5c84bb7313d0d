"""The methods that write rejected answers themselves: each builds from the testbed, the same bytes however it is split,
and each is what its first line says."""

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
from mmpref.data.builders.stic import spoiled
from mmpref.data.recipe import BuildRecipe
from mmpref.data.sources import Source
from mmpref.errors import UsageError
from mmpref.rng import stream
from mmpref.tables.open import open_table
from mmpref.types import Example, ImageData, Pair, Skip
from mmpref.vlm.policy import Policy
from tests.data.built import rows_of

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
WRITTEN: dict[str, Any] = {"similarity_model": EMBEDDER, "max_answer_tokens": 48}
SETTINGS: dict[str, dict[str, Any]] = {
    "masking": {**WRITTEN, "max_tail_tokens": 24},
    "povid-distortion": {"similarity_model": EMBEDDER, "noise_steps": 900},
    "seva": {**WRITTEN, "noise_steps": 900},
    "stic": WRITTEN,
    "other-image": WRITTEN,
    "same-kind": WRITTEN,
    "mismatched": {},
    "gibberish": {"words": "random"},
}
ROWS, BLOCK = 16, 8


def recipe(method: str, **changes: Any) -> BuildRecipe:
    builder = BUILDERS.get(method)
    made = BuildRecipe(MODEL, "testbed", method, limit=ROWS, block_size=BLOCK, builder=SETTINGS[method])
    return replace(made, model=MODEL if builder.uses_model else None, **changes)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    [(_, block)] = Source([open_table("testbed")], limit=ROWS).blocks(ROWS, lambda _: True)
    assert all(isinstance(row, Example) for row in block)
    return [row for row in block if isinstance(row, Example)]


def pairs_of(policy: Policy, method: str, examples: list[Example], **settings: Any) -> list[Pair | Skip]:
    builder = BUILDERS.get(method)
    worker = builder.worker(
        Context(lambda: policy, policy.ref, 0, 0), builder.config()(**{**SETTINGS[method], **settings})
    )
    return worker(examples)


def skips_of(policy: Policy, method: str, examples: list[Example]) -> list[Skip]:
    """Of examples that can make no pair; each skip says why."""
    made = [one for one in pairs_of(policy, method, examples) if isinstance(one, Skip)]
    assert len(made) == len(examples)
    assert all(one.detail for one in made)
    return made


@pytest.mark.parametrize("method", SETTINGS)
def test_a_method_builds_and_shards_give_the_same_bytes(method: str, tmp_path: Path) -> None:
    manifest = build_dataset(recipe(method), tmp_path / "whole")
    for index in (1, 0):
        build_dataset(recipe(method), tmp_path / "split", shard=(index, 2))
    files = [sorted((tmp_path / name / "data").glob("*.parquet")) for name in ("whole", "split")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    rows = rows_of(tmp_path / "whole")
    assert len(rows) == manifest["counts"]["rows"] >= 4
    assert len(rows) + sum(manifest["counts"]["skipped"].values()) == ROWS
    for row in rows:
        assert row["method"] == method
        assert row["rejected"][0]["content"].strip()
        assert row["rejected"] != row["chosen"]
        assert (row["similarity"] is None) == (method in ("mismatched", "gibberish"))


def test_masking_sees_next_to_nothing_and_writes_whole_answers(policy: Policy, examples: list[Example]) -> None:
    """With every image token hidden, an answer cannot depend on the image."""
    captions = [example for example in examples if example.prompt == examples[0].prompt][:3]
    others = [replace(example, images=captions[0].images) for example in captions]
    blind = {"rho_th": 1.0, "iterations": 1}
    made = [pairs_of(policy, "masking", block, **blind) for block in (captions, others)]
    texts = [[pair.rejected for pair in block if isinstance(pair, Pair)] for block in made]
    assert texts[0] == texts[1]
    assert BUILDERS.get("masking").config()().guidance is False


def test_other_image_is_the_answer_to_another_image(policy: Policy, examples: list[Example]) -> None:
    from mmpref.sampling.answers import generate_answers
    from mmpref.vlm.decoding import Decoding
    from mmpref.vlm.encode import encode

    block = examples[:BLOCK]
    asked = [replace(block[0], images=other.images) for other in block[1:]]
    contexts = encode(policy, [policy.prompter(example) for example in asked])
    possible = generate_answers(policy, contexts, ["any"] * len(asked), Decoding(48))
    [first, *_] = pairs_of(policy, "other-image", block)
    assert isinstance(first, Pair)
    assert first.rejected in [answer.text for answer in possible]


def test_a_lone_example_has_no_partner(policy: Policy, examples: list[Example]) -> None:
    for method in ("other-image", "same-kind", "mismatched", "gibberish"):
        assert [one.reason for one in skips_of(policy, method, examples[:1])] == ["no-partner"]
    twins = [examples[0], replace(examples[0], id="twin")]
    assert [(one.id, one.reason) for one in skips_of(policy, "same-kind", twins)] == [
        (one.id, "no-partner") for one in twins
    ]


def test_same_kind_shows_the_image_whose_answer_is_nearest(policy: Policy, examples: list[Example]) -> None:
    builder = BUILDERS.get("same-kind")
    worker: Any = builder.worker(Context(lambda: policy, policy.ref, 0, 0), builder.config()(**WRITTEN))
    answers = ("There is a cup and a fork at the back.", "There is a cup and a fork at the front.", "No.")
    mine, near, far = (replace(example, answer=answer) for example, answer in zip(examples, answers, strict=False))
    shown = worker.model_inputs([mine, far, near])
    assert shown[0].images == near.images
    assert shown[0].prompt == mine.prompt
    assert shown[2].images == mine.images


def test_seva_without_noise_is_the_models_own_answer(policy: Policy, examples: list[Example]) -> None:
    made = pairs_of(policy, "seva", examples[:4], noise_steps=0)
    noisy = pairs_of(policy, "seva", examples[:4], noise_steps=1000)
    from mmpref.images import decode
    from mmpref.vlm.decoding import Decoding
    from mmpref.vlm.generate import Request, generate

    requests = [Request(example.prompt, tuple(decode(image) for image in example.images)) for example in examples[:4]]
    own = generate(policy, requests, Decoding(48))
    for example, answer, pair in zip(examples, own, made, strict=False):
        said = pair.rejected if isinstance(pair, Pair) else example.answer.strip()
        assert said == answer.strip()
    assert noisy != made


def test_stic_spoils_an_image_or_misleads(policy: Policy, examples: list[Example]) -> None:
    from mmpref.data.builders.stic import MISLEADING

    builder = BUILDERS.get("stic")
    worker: Any = builder.worker(Context(lambda: policy, policy.ref, 0, 0), builder.config()(**WRITTEN))
    kinds = set()
    for example, shown in zip(examples, worker.model_inputs(examples), strict=True):
        misled = shown.prompt != example.prompt
        assert misled == (shown.images == example.images)
        assert not misled or shown.prompt[-1].content in MISLEADING
        kinds.add(misled)
    assert kinds == {True, False}


def test_a_spoiled_image_keeps_its_size_and_loses_its_detail() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((200, 100), 90).convert("RGB").save(buffer, "PNG")
    image, sharpness = ImageData(buffer.getvalue(), "noise.png"), []
    for seed in range(12):
        picture = Image.open(io.BytesIO(spoiled(image, 20, stream(seed)).content))
        assert picture.size == (200, 100)
        pixels = np.asarray(picture.convert("L"), dtype=float)
        sharpness.append(np.abs(np.diff(pixels, axis=1)).mean())
    assert min(sharpness) < 10 < max(sharpness)  # shrunk, and only recoloured


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("stic", "misleading_share", 1.5),
        ("stic", "low_resolution", 0),
        ("seva", "noise_steps", 1001),
        ("povid-distortion", "noise_steps", -1),
        ("other-image", "max_answer_tokens", 0),
    ],
)
def test_impossible_settings_are_refused(method: str, key: str, value: float) -> None:
    with pytest.raises(UsageError, match=key):
        BUILDERS.get(method).config()(**{key: value})


def test_a_build_gives_torch_its_threads_back(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        settings = {**WRITTEN, "max_answer_tokens": 8, "keep_cut_off": True}
        manifest = build_dataset(recipe("seva", builder=settings, limit=2), tmp_path)
        assert (manifest["threads"], torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.long
@pytest.mark.parametrize(("method", "workers"), [("masking", 2), ("stic", 1), ("other-image", 1)])
def test_preprocessing_in_other_processes_changes_no_byte(method: str, workers: int, tmp_path: Path) -> None:
    for name, count in (("here", 0), ("there", workers)):
        build_dataset(recipe(method), tmp_path / name, workers=count)
    assert rows_of(tmp_path / "here") == rows_of(tmp_path / "there")
