"""Loaded models in place of names: used as they are, left as they were, and called by what they are."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText, AutoProcessor

import mmpref
from mmpref.api.models import named_model
from mmpref.errors import ModelError, RunError, UsageError
from mmpref.hub.cards.results_table import lines_of, results_block
from mmpref.registry import resolve_path
from mmpref.run.results import Results
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


def name_of(model: Any) -> str:
    with named_model({"model": model}) as settings:
        return str(settings["model"])


@pytest.fixture
def adapted(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    model = get_peft_model(pair[0], LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    return model, pair[1]


def test_what_decides_answers_beside_the_weights_is_in_the_name(adapted: tuple[Any, Any]) -> None:
    model, processor = adapted
    begun = name_of(adapted)
    processor.tokenizer(["a", "a b"], padding=True)  # which it remembers
    assert name_of(adapted) == begun
    names = [begun]
    with model.disable_adapter():
        names.append(name_of(adapted))
    layer = next(layer for layer in model.modules() if getattr(layer, "scaling", None))
    layer.set_scale("default", 3.0)
    names.append(name_of(adapted))
    model.add_adapter("second", LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    names.append(name_of(adapted))
    model.set_adapter("second")
    names.append(name_of(adapted))
    processor.image_processor.image_mean = [0.1, 0.1, 0.1]
    names.append(name_of(adapted))
    model.generation_config.repetition_penalty = 1.5
    names.append(name_of(adapted))
    processor.tokenizer.add_tokens(["zebra"])
    names.append(name_of(adapted))
    assert len(set(names)) == len(names)


def test_a_policy_whose_adapter_is_off_does_not_go_by_its_name(adapted: tuple[Any, Any], in_tmp: Path) -> None:
    adapted[0].save_pretrained("adapter")
    policy = mmpref.load_policy(TESTBED, adapter="adapter")
    with named_model({"model": policy}, adapters=True) as settings:
        assert (settings["model"], settings["adapter"]) == (TESTBED, "adapter")
    with policy.model.disable_adapter(), named_model({"model": policy}, adapters=True) as settings:
        assert settings["model"].startswith("memory:")


def test_an_evaluation_of_the_model_in_another_state_is_another_run(adapted: tuple[Any, Any], in_tmp: Path) -> None:
    def answers(**options: Any) -> list[str]:
        run = mmpref.evaluate(model=adapted, recipe="testbed", benchmark="chair", limit=4, **options)
        return pq.read_table(run.path / "samples" / "base-chair.parquet")["answer"].to_pylist()

    on = answers(output="run")
    with adapted[0].disable_adapter():
        assert answers() != on
        with pytest.raises(RunError, match="run belongs to another recipe"):
            answers(output="run")


def test_results_of_a_model_with_its_adapter_on_say_that_it_is_no_base(adapted: tuple[Any, Any], in_tmp: Path) -> None:
    def remarks(name: str) -> list[str]:
        run = mmpref.evaluate(model=adapted, recipe="testbed", benchmarks=["chair", "pope"], limit=1, output=name)
        assert repr(run).splitlines()[0] == "results", "there is no verdict on a model alone"
        return [one for one in run.remarks() if "with its adapter on" in one]

    [remark] = remarks("on")
    assert "load_policy(BASE, adapter=FOLDER)" in remark
    results = Results.read(Path("on"))
    assert results_block(lines_of(results)).partition("## Results")[2].count("with its adapter on") == 1
    with adapted[0].disable_adapter():
        assert remarks("off") == []
    adapted[0].merge_adapter()
    assert remarks("merged") == [remark]


def test_a_transformers_model_with_an_adapter_in_it_is_taken(
    adapted: tuple[Any, Any], photos: list[dict[str, Any]], in_tmp: Path
) -> None:
    """`get_base_model` of PEFT gives such a one, and so does transformers' own `load_adapter`."""
    adapted[0].save_pretrained("adapter")
    loaded = AutoModelForImageTextToText.from_pretrained(resolve_path(TESTBED), dtype=torch.float32)
    loaded.load_adapter("adapter")
    rows = [
        {"image": row["image"], "prompt": row["question"], "chosen": row["answer"], "rejected": "A cup."}
        for row in photos
    ]
    margins = [
        mmpref.inspect(rows, model=(model, adapted[1])).report["under_model"]["margin"]
        for model in (adapted[0], adapted[0].get_base_model(), loaded)
    ]
    assert margins[0] == margins[1] == margins[2]


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
