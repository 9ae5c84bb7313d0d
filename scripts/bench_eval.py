"""Answering a benchmark against `generate`: python scripts/bench_eval.py [--rounds N] [--json] [--device cuda
--dtype bfloat16 --shape llava-1.6-7b].

A random LLaVA-NeXT in fp32 on one thread, 2928 image tokens, questions of POPE's length with answers of 4 tokens, three
questions an image, batches of six. The arms of a round run one after the other, and every figure is the median over
rounds of a ratio of CPU times within a round, preprocessing included. Every arm must give the same answers, or the
script fails. On an accelerator times are those that pass until its work is done, and what is told of the answers, there
and in other dtypes, is the share that agrees. `questions_a_second` are mmpref's, `gib` the most that an accelerator had
allocated, with the weights.

* base: transformers' `generate` on left-padded batches of six questions, against `mmpref evaluate`'s own loop
* both: base and adapter (LoRA of rank 16 and its own projector), by `generate` one after the other, against both in
  one go
* alone: as base, with one question an image, so that nothing is shared
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from bench_models import Setting, add_options, device_facts, forget_peak, machine, peak_gib, seconds, setting_of
from peft import get_peft_model
from PIL import Image

from mmpref.align.adapter import lora_config
from mmpref.align.recipe import LoraSettings
from mmpref.bench.benchmark import Sample
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.images import decode
from mmpref.run.results import ADAPTER, BASE
from mmpref.types import ImageData, Message, ModelRef
from mmpref.vlm.policy import Policy

NEW, IMAGES, QUESTIONS, BATCH = 4, 4, 3, 6


def adapted(setting: Setting) -> Policy:
    """The random model with an adapter that changes its answers."""
    policy = setting.policy()
    model = get_peft_model(policy.model, lora_config(policy, LoraSettings(16, 32), True))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=generator).to(parameter))
    made = Policy(model.eval(), policy.processor, policy.family, ModelRef("random", adapter="random"))
    made.eos_ids = set()
    return made


def asked(questions: int, side: int, images: int = IMAGES) -> list[Sample]:
    """So many questions about each image, as many questions in all as three about each of ``images``."""
    samples = []
    for number in range(images * QUESTIONS // questions):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        for question in range(questions):
            words = " ".join(f"w{(question * 7 + word) % 60}" for word in range(9 + question))
            text = f"is there a {words} in the picture ? answer the question using a single word ."
            samples.append(
                Sample(
                    f"{number}-{question}",
                    str(number),
                    ImageData(file.getvalue(), "image"),
                    (Message("user", text),),
                    None,
                )
            )
    return samples


@torch.inference_mode()
def by_generate(policy: Policy, samples: Sequence[Sample], model: str) -> list[str]:
    processor = policy.processor
    processor.tokenizer.padding_side = "left"
    answers: list[str] = []
    with policy.without_adapter() if model == BASE else contextlib.nullcontext():
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            texts = [policy.render(sample.messages, 1) for sample in batch]
            images = [[decode(sample.image)] for sample in batch if sample.image]
            inputs = processor(images=images, text=texts, return_tensors="pt", padding=True, add_special_tokens=False)
            ids = policy.model.generate(
                **_placed(inputs, policy),
                max_new_tokens=NEW,
                do_sample=False,
                suppress_tokens=sorted(policy.suppressed_ids),
            )
            said = processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            answers += [text.strip() for text in said]
    return answers


def _placed(inputs: Any, policy: Policy) -> dict[str, torch.Tensor]:
    return {
        name: value.to(policy.device, policy.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }


def by_mmpref(policy: Policy, samples: Sequence[Sample], models: Sequence[str], batch: int = BATCH) -> list[str]:
    answerer = LocalAnswerer(lambda: policy, None)
    found: dict[str, list[Any]] = {model: [] for model in models}
    for start in range(0, len(samples), batch):
        for model, answers in answerer(samples[start : start + batch], NEW, models).items():
            found[model] += answers
    return [answer for model in models for answer in found[model]]


def ratios(rounds: int, setting: Setting) -> dict[str, list[float]]:
    """Ratios of every round, and questions a second."""
    policy = adapted(setting)
    grouped, single = asked(QUESTIONS, setting.picture), asked(1, setting.picture)
    arms = {
        "base": (grouped, (BASE,)),
        "both": (grouped, (BASE, ADAPTER)),
        "alone": (single, (BASE,)),
    }
    found: dict[str, list[float]] = {}
    by_mmpref(policy, single[:1], (BASE, ADAPTER))  # warms up
    for number in range(rounds):
        for name, (samples, models) in arms.items():
            start = seconds(setting.device)
            expected = [answer for model in models for answer in by_generate(policy, samples, model)]
            middle = seconds(setting.device)
            forget_peak(setting.device)
            again = seconds(setting.device)
            got = by_mmpref(policy, samples, models)
            end = seconds(setting.device)
            if setting.is_exact and got != expected:
                raise SystemExit(f"Error: the answers of {name} differ: {got} and {expected}")
            if setting.is_exact and len(set(got)) < 3:
                raise SystemExit("Error: too few different answers to compare anything.")
            for key, value in {
                name: (middle - start) / (end - again),
                f"questions_a_second_{name}": len(got) / (end - again),
                f"questions_a_second_{name}_generate": len(got) / (middle - start),
                **({} if setting.is_exact else {f"agreement_{name}": _agreement(got, expected)}),
                **({} if setting.device == "cpu" else {f"gib_{name}": peak_gib(setting.device)}),
            }.items():
                found.setdefault(key, []).append(value)
            print(
                f"round {number + 1} of {rounds}, {name}: generate {middle - start:.1f} s, mmpref {end - again:.1f} s",
                file=sys.stderr,
            )
    return found


def _agreement(got: Sequence[str], expected: Sequence[str]) -> float:
    """Share of the answers that are equal."""
    return sum(one == other for one, other in zip(got, expected, strict=True)) / len(got)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_options(parser)
    given = parser.parse_args()
    torch.set_num_threads(1)
    setting = setting_of(given)
    found = ratios(given.rounds, setting)
    result: dict[str, Any] = {name: round(statistics.median(values), 3) for name, values in found.items()}
    result["spread"] = {name: [round(min(values), 3), round(max(values), 3)] for name, values in found.items()}
    result["machine"] = {**machine(), **device_facts(setting.device)}
    if given.json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        print(f"{name:10} {value}")


if __name__ == "__main__":
    main()
