"""Half precision: every method trains and is watched, what is watched is what will be loaded, and a run resumes."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmpref.align.method import METHODS, Method
from mmpref.align.recipe import LoraSettings, TrainRecipe, WatchSettings
from mmpref.align.train import train
from mmpref.align.trl_options import resolve
from mmpref.errors import UsageError
from mmpref.images import decode
from mmpref.testbed.language import CAPTION_PROMPTS
from mmpref.testbed.render import png
from mmpref.testbed.world import scene
from mmpref.types import ImageData, Message, ModelRef
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import Request, generate
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy

from .conftest import MODEL
from .cut import Cut, cutting, whole_and_cut

SAMPLED: dict[str, Any] = {"temperature": 1.5, "max_answer_tokens": 32}
LOSSES: dict[str, dict[str, Any]] = {
    "online-dpo": SAMPLED,
    "mixed-dpo": SAMPLED,
    "online-bdhs": {"bdhs": {"similarity_model": "pkg:mmpref.testbed/embedder", "max_tail_tokens": 12}},
    "povid": {"noise_steps": 900},
    "tr-dpo": {"every": 1},
    "rloo": {**SAMPLED, "reward": "testbed-oracle"},
}
PRECISIONS: dict[str, dict[str, Any]] = {"bfloat16": {"bf16": True}, "float16": {}}
"""On accelerators bf16 weights bring mixed precision; without it every call sees the weights' own."""

FEW = {("povid", "bfloat16"), ("dpo", "float16")}
"""One that writes and one that does not. That each method resumes bit for bit is tested in full precision."""


def written(policy: Policy) -> dict[str, tuple[float, bool | None]]:
    """What a policy says of an image, in numbers that any change of its weights changes."""
    image = decode(ImageData(png(scene("test", 1))))
    question = (Message("user", CAPTION_PROMPTS[0]),)
    inputs = policy.prompter.prepare(question, (image,))
    with torch.inference_mode():
        inputs = {
            name: value.to(policy.dtype) if value.is_floating_point() else value for name, value in inputs.items()
        }
        logits = policy.base_model(**inputs, use_cache=False).logits.double()
    [answer] = generate(policy, [Request(question, (image,))], Decoding(12))
    return {"bench/logits": (float(logits.square().sum()), None), "bench/length": (float(len(answer)), None)}


def recipe(method: str, data: Path, dtype: str, steps: int, save_steps: int) -> TrainRecipe:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": steps,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "save_steps": save_steps,
    }
    return TrainRecipe(
        MODEL,
        (str(data),),
        method,
        dtype=dtype,
        lora=LoraSettings(4, 8),
        projector_learning_rate=1e-3,
        annotator="testbed-oracle" if METHODS.get(method).needs_annotator else None,
        loss=LOSSES.get(method, {}),
        trainer={**trainer, **PRECISIONS[dtype]},
        watch=WatchSettings(("bench",), every=2),
    )


def assert_loads_as_watched(method: str, dtype: str, whole: dict[str, Any], run: Path) -> None:
    if method != "reward-model":  # whose adapter writes no answers once it is loaded
        loaded = load_policy(ModelRef(MODEL, adapter=str(run)), dtype=dtype)
        last = {name: value for name, value in whole["evaluations"][-1].items() if name != "step"}
        assert last == {name: value for name, (value, _) in written(loaded).items()}


@pytest.mark.parametrize(("method", "dtype"), sorted(FEW))
def test_a_method_trains_is_watched_and_resumes(method: str, dtype: str, doubly_rejected: Path, tmp_path: Path) -> None:
    whole, again = whole_and_cut(recipe(method, doubly_rejected, dtype, 3, 1), tmp_path, 2, written)
    assert [row["step"] for row in whole["evaluations"]] == [0, 2, 3]
    assert whole["evaluations"] == again["evaluations"]
    assert_loads_as_watched(method, dtype, whole, tmp_path / "whole")


def path_of(name: str) -> frozenset[Any]:
    """Which way through trainer and pair source a method takes. Those of the same way differ in their loss alone."""
    method, loss = METHODS.get(name), ("settings", "trainer", "rates", "tags")
    known = [(field.name, field.default, getattr(method, field.name)) for field in fields(Method)]
    given = [(name, value) for name, default, value in known if default is not MISSING and value is not default]
    return frozenset((name, value if name == "source" else None) for name, value in given if name not in loss)


WAYS = {path_of(name): name for name in reversed(METHODS.names())}
"""One method of each."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "dtype"),
    [(method, dtype) for method in WAYS.values() for dtype in PRECISIONS if (method, dtype) not in FEW],
)
def test_a_method_trains_and_is_watched(
    method: str, dtype: str, doubly_rejected: Path, contexts: Path, tmp_path: Path
) -> None:
    data = contexts if METHODS.get(method).needs_context else doubly_rejected
    whole = train(recipe(method, data, dtype, 2, 2), tmp_path / "run", evaluate=written)
    assert [row["step"] for row in whole["evaluations"]] == [0, 2]
    assert_loads_as_watched(method, dtype, whole, tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize(
    "method", [name for name in METHODS.names() if name not in WAYS.values() and (name, "float16") not in FEW]
)
def test_a_loss_is_a_number_in_the_narrowest_range(method: str, doubly_rejected: Path, tmp_path: Path) -> None:
    """In float16, and without the autocast that would bring precisions together. One that is not finite ends a
    training; what is saved in the end is another test's."""
    alone = replace(recipe(method, doubly_rejected, "float16", 3, 3), watch=WatchSettings(), limit=12)
    with pytest.raises(Cut):
        train(alone, tmp_path / "run", on_progress=cutting(3))


@pytest.mark.parametrize(("option", "dtype"), [("bf16", "float16"), ("fp16", "bfloat16")])
def test_mixed_precision_of_another_kind_is_refused(option: str, dtype: str) -> None:
    with pytest.raises(UsageError, match=f"trainer.{option} and the model's {dtype} contradict"):
        resolve({option: True}, {}, seed=0, dtype=dtype, dropout=False)
