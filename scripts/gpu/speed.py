"""How fast LLaVA-1.6-7B's shape runs: building pairs, DPO, evaluation, kinds of steps; what a device does meanwhile."""

from __future__ import annotations

import gc
import platform
import statistics
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import bench_dpo
import bench_eval
import torch
from bench_bdhs import NEW, SENTENCES, Work
from bench_models import Setting, device_facts, forget_peak, peak_gib, seconds, timed
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode
from transformers.utils import is_flash_attn_2_available

from gpu.stage import Context
from mmpref.run.results import ADAPTER, BASE
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import decode
from mmpref.vlm.kernels import Place, trainable
from mmpref.vlm.static_step import no_graph

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "triton", "bitsandbytes", "flash-attn")
POOLS = ((8, 64), (32, 160), (64, 320))
"""Pairs of a block, and rows of its pool."""
PAIRS = 8
"""Whose sentences are written in one pool, to compare kinds of steps."""
POPE = 9000
KERNELS = 10
OTHER_TOKENS = 0.5
"""Share of greedy tokens in bf16 that may differ between kinds of steps: random weights, whose scores lie close."""
SYNCS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "Memcpy DtoH")


def setting_of(context: Context) -> Setting:
    return Setting(context.device, torch.bfloat16, "tiny" if context.tiny else "llava-1.6-7b")


def environment(context: Context) -> None:
    """Versions of what matters, and the device."""
    for package in PACKAGES:
        try:
            context.add(package, version(package))
        except PackageNotFoundError:
            context.add(package, None)
    context.add("python", platform.python_version())
    context.add("device", device_facts(context.device) or {"device": "cpu"})


def _share_of_peak(context: Context, work: Callable[[], Any], spent: float) -> dict[str, float]:
    """bf16 operations a second of some work that takes so many seconds, and their share of the device's peak."""
    with FlopCounterMode(display=False) as counter:
        work()
    rate = counter.get_total_flops() / spent
    peak = device_facts(context.device).get("peak_flops")
    return {"tflops": rate / 1e12, **({"share_of_peak": rate / peak} if peak else {})}


def build(context: Context) -> None:
    """Pairs at two tries, images encoded: by `generate`, a sentence at a time, and by the engine."""
    setting = setting_of(context)
    work = Work(setting.policy(), setting.picture)
    forget_peak(context.device)
    naive = timed(context.device, work.naive)
    context.add("naive", {"pairs_an_hour": 1800 / naive, "gib": peak_gib(context.device)})
    batched = timed(context.device, work.batched)
    context.add("batched", {"pairs_an_hour": 1800 / batched})
    for pairs, width in POOLS[:1] if context.tiny else POOLS:

        def engine(pairs: int = pairs, width: int = width) -> Any:
            return work.engine(pairs, tries=2, width=width)

        forget_peak(context.device)
        spent = timed(context.device, engine, 2)
        found = {
            "pairs_an_hour": 3600 * pairs / spent,
            "times_naive": 2 * naive * pairs / spent,
            "new_tokens_a_second": 2 * pairs * SENTENCES * NEW / spent,
            "gib": peak_gib(context.device),
        }
        context.add(f"engine, {pairs} pairs, {width} rows", found)
        context.add(f"engine, {pairs} pairs, {width} rows", {**found, **_share_of_peak(context, engine, spent)})


def dpo(context: Context) -> None:
    """A step of one pair by TRL's trainer, in every attention that it can have, and by ours; in the end ours by every
    kernel that can be had."""
    setting = setting_of(context)
    attentions = ["sdpa", *(["flash_attention_2"] if is_flash_attn_2_available() else [])]
    context.add("FlashAttention", "there" if len(attentions) > 1 else "not there")
    rounds = 1 if context.tiny else 3
    kinds = ((True, " with checkpointing"), (False, ""))
    for checkpointing, suffix in kinds[:1] if context.tiny else kinds:
        best: list[float] = []
        arms = {
            f"trl {attention}": bench_dpo.Step(False, checkpointing, attention=attention) for attention in attentions
        }
        arms |= dict.fromkeys(bench_dpo.KNOWN, bench_dpo.Step(True, checkpointing))
        if suffix == kinds[-1][1] or context.tiny:
            arms |= {
                f"shared, {kernel}": bench_dpo.Step(True, checkpointing, attention=kernel)
                for kernel in trainable(Place(torch.device(context.device), setting.dtype))
            }
        for name, step in arms.items():

            def measure(
                name: str = name, step: bench_dpo.Step = step, suffix: str = suffix, best: list[float] = best
            ) -> None:
                forget_peak(context.device)
                arm = bench_dpo.Arm(step, context.scratch, setting)
                for what in bench_dpo.KNOWN.get(name, ()):
                    arm.know(what, context.scratch / f"{name}{suffix}-{what}")
                arm.step()
                spent = statistics.median(arm.step()[0] for _ in range(rounds))
                found = {"steps_a_second": 1 / spent, "gib": peak_gib(context.device)}
                if step.shared and best:
                    found["times_trl"] = min(best) / spent
                elif not step.shared:
                    best.append(spent)
                context.add(f"{name}{suffix}", found)
                context.add(f"{name}{suffix}", {**found, **_share_of_peak(context, arm.step, spent)})

            context.attempt(f"{name}{suffix}", measure)
            gc.collect()


def evaluation(context: Context) -> None:
    """Questions like POPE's, three an image, of the base and of base and adapter, against batched `generate`."""
    setting = setting_of(context)
    policy = bench_eval.adapted(setting)
    samples = bench_eval.asked(bench_eval.QUESTIONS, setting.picture, 2 if context.tiny else 8)
    for name, models in (("base", (BASE,)), ("base and adapter", (BASE, ADAPTER))):

        def generate(models: tuple[str, ...] = models) -> Any:
            return [answer for model in models for answer in bench_eval.by_generate(policy, samples, model)]

        def mmpref(models: tuple[str, ...] = models) -> Any:
            return bench_eval.by_mmpref(policy, samples, models, batch=len(samples))

        forget_peak(context.device)
        ours = timed(context.device, mmpref)
        found = {
            "questions_a_second": len(models) * len(samples) / ours,
            "minutes_of_pope": len(models) * POPE * ours / (len(models) * len(samples)) / 60,
            "gib": peak_gib(context.device),
        }
        context.add(name, found)
        context.add(name, {**found, "times_generate": timed(context.device, generate) / ours})


def steps(context: Context) -> None:
    """Decoding by plain steps, by those of few shapes, and by recorded ones (CUDA graphs), in one pool."""
    setting = setting_of(context)
    policy = setting.policy()
    work = Work(policy, setting.picture)
    seen = [image.drop(work.kept, "original") for image in [work.context()] * PAIRS]
    branches = [Branch(one, prefix) for one in seen for prefix in work.prefixes]
    decoding = Decoding(4 if context.tiny else 64)
    expected: list[list[int]] = []
    for kind in ("plain", "static", *(() if no_graph(policy) else ("graph",))):

        def measure(kind: str = kind) -> None:
            policy.steps = kind
            tokens = decode(policy, branches, decoding)
            spent = timed(context.device, lambda: decode(policy, branches, decoding))
            written = sum(map(len, tokens))
            context.add(kind, {"new_tokens_a_second": written / spent, "gib": peak_gib(context.device)})
            if kind == "plain":
                expected.extend(tokens)
                return
            other = [
                a != b for mine, own in zip(tokens, expected, strict=True) for a, b in zip(mine, own, strict=False)
            ]
            # Ties in bf16: one that falls otherwise changes all tokens behind it.
            context.check(f"{kind}: other tokens", sum(other) / max(1, len(other)), OTHER_TOKENS)

        forget_peak(context.device)
        context.attempt(kind, measure)


def profile(context: Context) -> None:
    """The kernels that take most, the share of time that the device has nothing to do, and what waits for it."""
    _profile_answers(context)
    gc.collect()
    arm = bench_dpo.Arm(bench_dpo.Step(True, True), context.scratch, setting_of(context))
    _profiled(context, "dpo", arm.step)


def _profile_answers(context: Context) -> None:
    setting = setting_of(context)
    policy = setting.policy()
    work = Work(policy, setting.picture)
    pairs, width = POOLS[0] if context.tiny else POOLS[1]
    _profiled(context, "build", lambda: work.engine(pairs, width=width))
    samples = bench_eval.asked(bench_eval.QUESTIONS, setting.picture, 2 if context.tiny else 8)
    _profiled(context, "evaluation", lambda: bench_eval.by_mmpref(policy, samples, (BASE,), batch=len(samples)))


def _profiled(context: Context, name: str, work: Callable[[], Any]) -> None:
    work()
    on_cpu = context.device == "cpu"
    activities = [ProfilerActivity.CPU, *([] if on_cpu else [ProfilerActivity.CUDA])]
    start = seconds(context.device)
    with torch.profiler.profile(activities=activities) as profiler:
        work()
        spent = seconds(context.device) - start
    events = profiler.key_averages()

    def own(event: Any) -> float:
        """Microseconds on the device itself."""
        return float(event.self_cpu_time_total if on_cpu else event.self_device_time_total)

    kernels = [event for event in events if on_cpu or "CUDA" in str(event.device_type)]
    top = sorted(kernels, key=own, reverse=True)[:KERNELS]
    found: dict[str, Any] = {"seconds": spent, "top": {event.key[:120]: own(event) / 1e6 for event in top}}
    if not on_cpu:
        found["idle"] = max(0.0, 1 - sum(map(own, kernels)) / 1e6 / spent)
        found["waits"] = {sync: sum(event.count for event in events if event.key.startswith(sync)) for sync in SYNCS}
    context.add(name, found)
