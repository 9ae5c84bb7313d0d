"""What fits: the widest pool, the largest batch of a training at rank 128, QLoRA in 4 bits."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import bench_dpo
import torch
from bench_bdhs import SENTENCES, Work
from bench_models import SHAPES, forget_peak, peak_gib, random_policy, seconds

from gpu.speed import setting_of
from gpu.stage import Context
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy

RANK = 128
ROWS = (64, 256, 512, 1024, 2048)
PAIRS = (1, 2, 4, 8, 16)
CARD_GIB = 80e9 / 2**30
"""Of the cards that most users have; the one that is there may hold more."""


def largest_batches(context: Context) -> None:
    """Twice as much until it does not fit: rows of a pool, and pairs of a step with gradient checkpointing."""
    _pools(context)
    gc.collect()
    setting = setting_of(context)

    def step(pairs: int) -> Callable[[], Any]:
        return bench_dpo.Arm(bench_dpo.Step(True, True, pairs, RANK), context.scratch, setting).step

    _grow(context, "pairs", PAIRS, step)


def _pools(context: Context) -> None:
    setting = setting_of(context)
    work = Work(setting.policy(), setting.picture)
    seen = work.context()  # one image's features for all pairs: what grows is the pool
    _grow(context, "rows", ROWS, lambda rows: lambda: work.engine(rows // SENTENCES + 1, seen, width=rows))


def _grow(context: Context, what: str, sizes: tuple[int, ...], make: Callable[[int], Callable[[], Any]]) -> None:
    for size in sizes[:2] if context.tiny else sizes:
        gc.collect()
        forget_peak(context.device)
        try:
            work = make(size)
            work()
            start = seconds(context.device)
            work()
            found = {"gib": peak_gib(context.device), f"{what}_a_second": size / (seconds(context.device) - start)}
        except torch.OutOfMemoryError:
            context.add(f"{size} {what}", "does not fit")
            return
        finally:
            work = None
        context.add(f"{size} {what}", found)
        context.add(f"largest of {what}", size)
        if found["gib"] <= CARD_GIB:
            context.add(f"largest of {what} in 80 GB", size)


def qlora(context: Context) -> None:
    """A step at rank 128 on a base in 4 bits, loaded from files as users load it."""
    setting = setting_of(context)
    shape = SHAPES[setting.shape]
    made = random_policy(shape, bench_dpo.vocabulary_of(setting), context.device, torch.bfloat16)
    folder = context.scratch / "model"
    made.base_model.generation_config.eos_token_id = made.tokenizer.eos_token_id
    made.base_model.save_pretrained(folder)
    made.processor.save_pretrained(folder)
    del made
    gc.collect()
    forget_peak(context.device)
    policy = load_policy(ModelRef(str(folder)), dtype="bfloat16", device=context.device, quantization="4bit")
    arm = bench_dpo.Arm(bench_dpo.Step(True, True, 1, RANK), context.scratch, setting, policy)
    arm.step()
    spent, loss = arm.step()
    context.add("step", {"steps_a_second": 1 / spent, "gib": peak_gib(context.device), "loss": loss})
    context.check("a loss that is no number", loss != loss, 0)
