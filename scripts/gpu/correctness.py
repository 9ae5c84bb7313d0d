"""Whether a device gives what a CPU gives in fp32: families, training methods, resuming."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_models import place
from PIL import Image
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from gpu.stage import Context, Skipped
from mmpref.align.method import METHODS
from mmpref.types import Message
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import encode
from mmpref.vlm.generate import Request, decode, generate
from mmpref.vlm.kernels import Place, trainable
from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests.vlm.tiny import BUILDERS, tiny

LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Share of the norm by which logits and hidden states of the tiny models may differ; they are wild, so that bf16 shows
nothing finer."""
OTHER_TOKENS = 0.05
"""Share of greedy tokens that may differ in fp32: of ties."""
FEW_FAMILIES = ("llava_next", "qwen3_vl", "gemma3")
FEW_METHODS = ("dpo", "rloo")
UNSHARED = ("paligemma", "paligemma2", "gemma4_per_layer")
"""Whose pairs TRL cannot collate, or whose prompts cannot be encoded."""
MODEL = "pkg:mmpref.testbed/model"
QUESTIONS = ("describe the picture .", "w1 w2 w3 .", "w1 w2 w4 .")


def _picture(seed: int, height: int = 24, width: int = 40) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@dataclass(frozen=True)
class _Outcome:
    """What a model makes of fixed inputs.

    Args:
        tokens: of answers with half of the image tokens hidden.
        logits: of given answers there, fp32 [T, V].
        hidden: of the shared forward, fp32 [2B, S, H]; None where TRL cannot collate pairs.
        refusal: why prompts cannot be shared.
        texts: answers to questions about images.
    """

    tokens: list[list[int]]
    logits: torch.Tensor
    hidden: torch.Tensor | None
    refusal: str | None
    texts: list[str]


def _outcome(policy: Policy, answers: list[list[int]] | None, shares: bool) -> _Outcome:
    from mmpref.sampling.logprobs import answer_logits

    prompts = [policy.prompter.prepare([Message("user", QUESTIONS[0])], [_picture(seed)]) for seed in range(2)]
    whole = encode(policy, prompts)
    seen = [prompt.drop(torch.arange(prompt.image_tokens) % 2 == 0, "original") for prompt in whole]
    prefixes = [(), (10, 11), (10, 12, 13)]
    branches = [Branch(prompt, prefix) for prompt in seen for prefix in prefixes]
    tokens = decode(policy, branches, Decoding(6))
    answers = answers or tokens
    texts = [[*branch.prefix, *answer] for branch, answer in zip(branches, answers, strict=True)]
    logits = torch.cat([part.cpu() for part in answer_logits(policy, [b.prompt for b in branches], texts)])
    said = generate(policy, [Request((Message("user", q),), (_picture(0),)) for q in QUESTIONS], Decoding(6))
    hidden, refusal = _shared(policy) if shares else (None, None)
    return _Outcome(tokens, logits, hidden, refusal, said)


@torch.no_grad()
def _shared(policy: Policy) -> tuple[torch.Tensor | None, str | None]:
    rows = [
        {
            "images": [_picture(number)],
            "prompt": [{"role": "user", "content": "describe the picture ." + " w1" * number}],
            "chosen": [{"role": "assistant", "content": "w1 w2 w3 w4 ."}],
            "rejected": [{"role": "assistant", "content": "w1 w2 w5" + " w6" * number}],
        }
        for number in range(2)
    ]
    batch = {
        name: value.to(policy.device, policy.dtype if value.is_floating_point() else None)
        for name, value in DataCollatorForVisionPreference(policy.processor)(rows).items()
        if isinstance(value, torch.Tensor)
    }
    shared = SharedForward(policy)
    if refusal := shared.refusal(batch):
        return None, refusal
    with shared.only_tails([batch]) as [cut]:
        hidden = policy.base_model.base_model().last_hidden_state.float()
        return hidden.masked_fill(~cut["attention_mask"].bool()[..., None], 0).cpu(), None


def families(context: Context) -> None:
    """Build, shared forward and evaluation of every family's tiny model, in fp32 and bf16, against a CPU in fp32."""
    torch.backends.cudnn.allow_tf32 = False
    for name in FEW_FAMILIES if context.tiny else BUILDERS:
        if name == "gemma4_per_layer":  # refused, wherever it runs
            continue
        shares = name not in UNSHARED
        expected = context.attempt(f"{name} on a CPU", partial(_expected, name, shares))
        for dtype in LIMITS if expected else ():
            kind = str(dtype).removeprefix("torch.")
            context.attempt(f"{name} {kind}", partial(_compare, context, name, dtype, expected, shares))
    torch.backends.cudnn.allow_tf32 = True


def kernels(context: Context) -> None:
    """The shared forward by every kernel that can be had, in bf16, against a CPU in fp32."""
    for name in FEW_FAMILIES:
        expected, _ = _shared(tiny(name))
        for kernel in trainable(Place(torch.device(context.device), torch.bfloat16)):
            context.attempt(f"{name} by {kernel}", partial(_compare_kernel, context, name, kernel, expected))


def _compare_kernel(context: Context, name: str, kernel: str, expected: torch.Tensor) -> None:
    policy = tiny(name)
    place(policy.base_model, context.device, torch.bfloat16)
    policy.attn = kernel
    got, refusal = _shared(policy)
    if got is None:
        raise RuntimeError(f"shared forward: {refusal}")
    context.check(f"{name} by {kernel}: shared forward", _difference(got, expected), LIMITS[torch.bfloat16])


def _expected(name: str, shares: bool) -> _Outcome:
    return _outcome(tiny(name), None, shares)


def _compare(context: Context, name: str, dtype: torch.dtype, expected: _Outcome, shares: bool) -> None:
    policy = tiny(name)
    place(policy.base_model, context.device, dtype)
    got, of = _outcome(policy, expected.tokens, shares), f"{name} {str(dtype).removeprefix('torch.')}"
    pairs = [pair for mine, other in zip(got.tokens, expected.tokens, strict=True) for pair in zip(mine, other)]  # noqa: B905
    others = sum(a != b for a, b in pairs) / max(1, len(pairs))
    others_said = sum(a != b for a, b in zip(got.texts, expected.texts, strict=True)) / len(got.texts)
    exact = dtype == torch.float32
    context.check(f"{of}: logits", _difference(got.logits, expected.logits), LIMITS[dtype])
    context.check(f"{of}: other tokens", others, OTHER_TOKENS if exact else 1)
    context.check(f"{of}: other answers", others_said, OTHER_TOKENS if exact else 1)
    if got.refusal != expected.refusal:
        raise RuntimeError(f"shared forward: {got.refusal}, and on a CPU {expected.refusal}")
    if got.hidden is not None and expected.hidden is not None:
        context.check(f"{of}: shared forward", _difference(got.hidden, expected.hidden), LIMITS[dtype])


def _difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def pairs(scratch: Path) -> str:
    """Pairs of the testbed, whose rejected answers are those to other images, with weights of all kinds, in a file."""
    import datasets

    from mmpref.tables.open import open_table

    path = scratch / "pairs" / "train.parquet"
    if path.exists():
        return str(path.parent)
    rows = [row for _, row in zip(range(30), open_table("testbed"), strict=False)]
    message = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
    answers = dict.fromkeys(("prompt", "chosen", "rejected", "rejected_policy"), message)
    number = datasets.Value("float64")
    span = {"begin": datasets.Value("int64"), "end": datasets.Value("int64"), "weight": number}
    weights = {"severity": number, "hardness": number, "rejected_weights": datasets.List(span)}
    features = datasets.Features(
        {"images": datasets.List(datasets.Image()), "id": datasets.Value("string"), **answers, **weights}
    )
    pairs = [
        {
            **{name: row[name] for name in ("images", "prompt", "id")},
            "chosen": row["completion"],
            "rejected": other["completion"],
            "rejected_policy": third["completion"],
            "severity": 2.0,
            "hardness": 0.5,
            "rejected_weights": [{"begin": 0, "end": 3, "weight": 2.0}],
        }
        for row, other, third in zip(rows, rows[1:], rows[2:], strict=False)
        if row["completion"] not in (other["completion"], third["completion"])
    ]
    path.parent.mkdir(parents=True)
    datasets.Dataset.from_list(pairs[:16], features=features).to_parquet(path)
    return str(path.parent)


def all_methods() -> list[str]:
    """But for those of pairs after a context."""
    return [name for name in METHODS.names() if not METHODS.get(name).needs_context]


def two_steps(method: str, scratch: Path) -> dict[str, Any]:
    """Of a method in bf16, by the testbed's recipe: options of `mmpref.train`."""
    return {
        "method": method,
        "recipe": "testbed",
        "dataset": pairs(scratch),
        "dtype": "bfloat16",
        "trainer": {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
    }


def methods(context: Context) -> None:
    """Two steps of every training method."""
    import mmpref

    for name in FEW_METHODS if context.tiny else all_methods():

        def train(name: str = name) -> Any:
            options = two_steps(name, context.scratch)
            return mmpref.train(**options, output=context.scratch / name, progress=False)

        if context.attempt(name, train) is not None:
            losses = _losses(context.scratch / name)
            context.check(f"{name}: losses that are no number", sum(not math.isfinite(loss) for loss in losses), 0)
            context.add(name, losses)


def _losses(run: Path) -> list[float]:
    from mmpref.run.files import JsonLines

    return [row["loss"] for row in JsonLines(run / "log.jsonl").rows() if "loss" in row]


class _Cut(Exception):
    """The process ends here."""


def resume(context: Context) -> None:
    """A training that is cut off and gone on with, against one that is not."""
    from safetensors.torch import load_file

    from mmpref.align.recipe import LoraSettings, TrainRecipe
    from mmpref.align.train import train

    steps = {
        "max_steps": 4,
        "save_steps": 2,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
    }
    recipe = TrainRecipe(MODEL, (pairs(context.scratch),), lora=LoraSettings(4, 8), trainer=steps, dtype="bfloat16")

    def cut(done: int, _of: int) -> None:
        if done == 3:
            raise _Cut

    train(recipe, context.scratch / "whole")
    try:
        train(recipe, context.scratch / "cut", on_progress=cut)
    except _Cut:
        pass
    else:
        raise RuntimeError("nothing was cut off")
    train(recipe, context.scratch / "cut")
    whole, again = (load_file(context.scratch / name / "adapter_model.safetensors") for name in ("whole", "cut"))
    worst = max(float((whole[name].float() - again[name].float()).abs().max()) for name in whole)
    # Sums on an accelerator may be taken in another order each time; a step moves a weight by about 1e-3.
    context.check("largest difference of a weight", worst, 0 if context.device == "cpu" else 1e-3)


def two_processes(context: Context) -> None:
    raise Skipped("two processes on one device would share it, which nobody does: their sums are tested on a CPU")
