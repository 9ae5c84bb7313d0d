"""Loaded models in place of names: used as they are, left as they were, and called by what they are."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import mmpref
from mmpref.api.models import named_model
from mmpref.errors import ModelError, UsageError
from mmpref.registry import resolve_path
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy as load
from tests.api.conftest import SMALL

TESTBED = "pkg:mmpref.testbed/model"


@pytest.fixture
def pair() -> tuple[Any, Any]:
    folder = resolve_path(TESTBED)
    return (
        AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32),
        AutoProcessor.from_pretrained(folder),
    )


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state_of(model: Any) -> dict[str, Any]:
    return {
        "modes": [module.training for module in model.modules()],
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "config": copy.deepcopy(model.config.to_dict()),
        "hooks": [  # transformers puts its own on with the first forward pass
            hook
            for module in model.modules()
            for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
            if not hook.__module__.startswith("transformers.")
        ],
    }


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    weights, others = first.pop("weights"), second.pop("weights")
    return first == second and all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_pair_builds_inspects_and_answers_and_is_left_as_it_was(
    pair: tuple[Any, Any], photos: list[dict[str, Any]], in_tmp: Path
) -> None:
    model, processor = pair
    model.train()
    next(model.modules()).training = False
    for parameter in list(model.parameters())[::2]:
        parameter.requires_grad_(False)
    before, template = state_of(model), processor.chat_template
    built = mmpref.build_dataset(model=pair, recipe="testbed", source=photos[:4], limit=4, builder=SMALL)
    inspected = mmpref.inspect(built, model=pair)
    evaluated = mmpref.evaluate(model=pair, recipe="testbed", benchmark="pope", limit=4)
    assert same(state_of(model), before)
    assert processor.chat_template == template
    name = built.manifest["model"]["id"]
    assert name.startswith("memory:")
    assert inspected.report["under_model"]["model"] == name
    assert evaluated.results.models["base"].model == name
    card = (built.path / "README.md").read_text(encoding="utf-8")
    assert name in card
    assert "/path/to/memory" not in card
    assert "object at" not in card
    by_name = mmpref.build_dataset(recipe="testbed", source=photos[:4], limit=4, builder=SMALL)
    assert by_name.to_pandas()["rejected"].map(str).tolist() == built.to_pandas()["rejected"].map(str).tolist()


def test_a_policy_goes_by_the_name_it_was_loaded_by_until_its_weights_change() -> None:
    policy = mmpref.load_policy(TESTBED)
    with named_model({"model": policy}) as settings:
        assert settings["model"] == TESTBED
        assert load(ModelRef(TESTBED)) is policy
        assert load(ModelRef(TESTBED, adapter=None)) is policy
    assert load(ModelRef(TESTBED)) is not policy
    with torch.no_grad():
        next(policy.model.parameters()).add_(1e-3)
    with named_model({"model": policy}) as settings:
        name = settings["model"]
        assert name.startswith("memory:")
        assert load(ModelRef(name)).model is policy.model
    with pytest.raises(ModelError, match=r"memory of another process.*name its folder"):
        load(ModelRef(name))


def test_the_same_weights_have_one_name(pair: tuple[Any, Any]) -> None:
    names = []
    for model in (pair, copy.deepcopy(pair)):
        with named_model({"model": model}) as settings:
            names.append(settings["model"])
    assert names[0] == names[1]


def test_what_cannot_be_done_with_a_loaded_model_is_said(pair: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match=r"not trained: .*save_pretrained"):
        mmpref.train(model=pair, dataset="testbed-pairs")
    with pytest.raises(UsageError, match="dtype says how a model is loaded"):
        mmpref.build_dataset(model=pair, source="testbed", dtype="bfloat16")
    for model in (pair[0], 5):
        with pytest.raises(UsageError, match=rf"model is a {type(model).__name__}.*a pair of a model"):
            mmpref.build_dataset(model=model, source="testbed")
        with pytest.raises(UsageError, match=rf"model is a {type(model).__name__}"):
            mmpref.load_policy(model)
    with pytest.raises(UsageError, match="adapter says how"):
        mmpref.evaluate(model=pair, adapter="runs/none", benchmark="pope")
    pair[0].config.get_text_config()._attn_implementation = "flash_attention_2"
    with pytest.raises(UsageError, match="attn_implementation='sdpa'"):
        mmpref.build_dataset(model=pair, source="testbed")
