"""Sampling means sampling, in every method that is defined by it: whatever the model ships, unless it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmpref.align.method import METHODS
from mmpref.data.build import build_dataset
from mmpref.data.builder import BUILDERS
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import UsageError
from mmpref.recipes import schema as recipes
from mmpref.sampling.settings import SamplingSettings, sampling_facts
from mmpref.types import Message, ModelRef
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import MODEL, OFF
from mmpref.vlm.encode import encode
from mmpref.vlm.load import load_policy
from mmpref.vlm.shared_prefix_pool import SharedPrefixPool
from mmpref.vlm.transformers_pool import TransformersPool
from tests.vlm.tiny import tiny

TESTBED, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
WRITTEN: dict[str, Any] = {"similarity_model": EMBEDDER, "max_answer_tokens": 40}
SAMPLED: dict[str, dict[str, Any]] = {
    "bdhs": {**WRITTEN, "max_tail_tokens": 20},
    "masking": WRITTEN,
    "seva": {**WRITTEN, "greedy": False},
    "candidates": {**WRITTEN, "samples": 3},
    "claims": {**WRITTEN, "samples": 3},
}


def answers(model: str, method: str, run: Path, **builder: Any) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The pairs that a method builds with a model, and the manifest."""
    made = BuildRecipe(model, "testbed", method, limit=6, builder={**SAMPLED[method], **builder})
    manifest = build_dataset(
        replace(made, annotator="testbed-oracle" if BUILDERS.get(method).needs_annotator else None), run
    )
    rows = [row for file in sorted((run / "data").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    return [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows], manifest


@pytest.mark.parametrize("method", SAMPLED)
def test_a_methods_samples_are_the_policys_whatever_its_config_says(
    method: str, greedy_by_its_config: str, tmp_path: Path
) -> None:
    plain, manifest = answers(TESTBED, method, tmp_path / "plain")
    qwen, again = answers(greedy_by_its_config, method, tmp_path / "qwen")
    assert plain == qwen
    assert plain
    assert manifest["sampling"] == again["sampling"] == {"greedy": False, **OFF}


def test_the_models_own_is_taken_where_named_and_the_manifest_says_what_it_was(
    greedy_by_its_config: str, tmp_path: Path
) -> None:
    plain, _ = answers(greedy_by_its_config, "masking", tmp_path / "plain")
    own, manifest = answers(greedy_by_its_config, "masking", tmp_path / "own", top_k=MODEL, temperature=MODEL)
    greedy, said = answers(greedy_by_its_config, "masking", tmp_path / "greedy", greedy=True)
    assert own == greedy != plain
    assert manifest["recipe"]["builder"]["temperature"] == MODEL
    assert manifest["sampling"] == {"greedy": False, **OFF, "temperature": 0.01, "top_k": 1}
    assert said["sampling"] == {"greedy": True, "repetition_penalty": 1.0}


def test_tails_of_many_streams_are_many(greedy_by_its_config: str) -> None:
    from PIL import Image

    policy = load_policy(ModelRef(greedy_by_its_config))
    seen = encode(
        policy,
        [policy.prompter.prepare([Message("user", "Describe the picture.")], [Image.new("RGB", (48, 48), "red")])],
    )[0]
    settings = recipes.build(BUILDERS.get("bdhs").config(), {})
    pool = SharedPrefixPool(policy, settings.decoding(12, 0))
    pool.add([Branch(seen.without_images(), (), (number,)) for number in range(20)])
    assert len({tuple(tokens) for _, tokens in pool}) > 10


@pytest.mark.parametrize("greedy", [False, True])
def test_generate_itself_is_not_disturbed_by_the_models_config(greedy: bool) -> None:
    from PIL import Image

    policy = tiny("llava")
    seen = encode(
        policy,
        [
            policy.prompter.prepare(
                [Message("user", "describe the picture .")], [Image.effect_noise((40, 24), 60).convert("RGB")]
            )
        ],
    )[0]
    branches = [Branch(seen, (), (number,)) for number in range(4)]
    decoding = replace(SamplingSettings(), temperature=0.5).decoding(12, 3)
    decoding = replace(decoding, greedy=greedy)
    own = policy.base_model.generation_config

    def drawn(kind: type[Any]) -> list[list[int]]:
        pool = kind(policy, decoding)
        pool.add(branches)
        return [tokens for _, tokens in sorted(pool)]

    expected = drawn(SharedPrefixPool)
    own.update(
        num_beams=2,
        no_repeat_ngram_size=1,
        min_new_tokens=12,
        top_k=1,
        do_sample=True,
        exponential_decay_length_penalty=(1, 9.0),
    )
    assert drawn(TransformersPool) == expected
    assert policy.base_model.generation_config is own


@pytest.mark.parametrize(
    "name", ["bdhs", "masking", "seva", "stic", "other-image", "same-kind", "candidates", "claims"]
)
def test_every_builder_that_lets_the_model_write_has_the_same_settings(name: str) -> None:
    config = BUILDERS.get(name).config()
    assert issubclass(config, SamplingSettings)
    assert {setting: getattr(config(), setting) for setting in OFF} == OFF
    for wrong in ({"temperature": "hot"}, {"top_k": 1.5}, {"top_p": None}):
        [setting] = wrong
        with pytest.raises(UsageError, match=rf"builder\.{setting} is .*; it must be a (whole )?number or 'model'"):
            recipes.build(config, wrong, "builder")
    assert recipes.build(config, {"repetition_penalty": "model"}, "builder").repetition_penalty == MODEL


@pytest.mark.parametrize("name", ["online-dpo", "mixed-dpo"])
def test_online_methods_have_them_too(name: str) -> None:
    settings = recipes.build(METHODS.get(name).settings, {"temperature": "model"}, "loss")
    assert settings.decoding(4, 0).temperature == MODEL
    assert {setting: getattr(settings, setting) for setting in OFF} == {**OFF, "temperature": MODEL}
    with pytest.raises(UsageError, match="beta"):
        recipes.build(METHODS.get(name).settings, {"beta": 0}, "loss")


def test_settings_of_sampling_are_refused_where_answers_are_greedy() -> None:
    """They would change nothing."""
    for wrong in ({"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 5}, {"temperature": "model"}):
        with pytest.raises(UsageError, match="greedy"):
            recipes.build(BUILDERS.get("seva").config(), wrong, "builder seva")
        recipes.build(BUILDERS.get("seva").config(), {**wrong, "greedy": False}, "builder seva")


def test_facts_are_those_of_what_draws() -> None:
    plain = recipes.as_plain(recipes.build(METHODS.get("online-bdhs").settings, {"bdhs": {"top_k": "model"}}))
    assert sampling_facts(plain, {"top_k": 3}) == {"sampling": {"greedy": False, **OFF, "top_k": 3}}
    assert sampling_facts(plain, {}) == {"sampling": {"greedy": False, **OFF}}
    assert sampling_facts(recipes.as_plain(METHODS.get("dpo").settings()), {"top_k": 3}) == {}
