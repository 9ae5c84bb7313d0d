"""A training step against TRL's DPOTrainer: python scripts/bench_dpo.py [--rounds N] [--json] [--device cuda
--dtype bfloat16 --shape llava-1.6-7b].

A random LLaVA-NeXT in fp32 on one thread, 2928 image tokens, answers of 100 tokens, a vocabulary of 32,064 as
LLaVA-1.6-Vicuna's, LoRA of rank 16 on the language model, projector frozen, sigmoid loss, one pair a step: forward,
backward, no optimizer. The arms of a round run one after the other, and every figure is the median over rounds of
TRL's CPU time over the arm's within a round. Every arm must give TRL's loss within 1e-4, or the script fails. On an
accelerator, where four models at once may not fit, arms run one after the other, each for all its rounds; what is told
of the loss, there and in other dtypes, is the largest difference. `steps_a_second` are those of one pair.

* shared: image and prompt once for both answers
* shared_ref: the same with the reference's log-probabilities known (every epoch but the first)
* shared_ref_features: the same with the vision tower's features read from disk, as they were kept
* the same three with _checkpointing behind: with gradient checkpointing in all arms
* memory: peak of resident memory over the loaded trainer, as a share of TRL's, each in a process of its own; on an
  accelerator the peaks themselves, in GiB (`gib`), with the weights
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from bench_models import (
    Setting,
    add_options,
    device_facts,
    forget_peak,
    machine,
    peak_gib,
    peak_memory,
    resident_growth,
    seconds,
    setting_of,
)
from datasets import Dataset
from PIL import Image
from trl import DPOTrainer

from mmpref.align import trl_options
from mmpref.align.adapter import lora_config
from mmpref.align.collator import PreferenceCollator
from mmpref.align.feature_cache import FeatureCache
from mmpref.align.preference_data import ROW
from mmpref.align.recipe import LoraSettings
from mmpref.align.reference_cache import ReferenceLogProbCache
from mmpref.align.trainer import PreferenceTrainer
from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_forward import SharedForward

ANSWER = 100
VOCABULARY = 32064
"""Of the output head, but for the shape for tests: half of the time of whose steps it would take."""
KNOWN = {"shared": (), "shared_ref": ("reference",), "shared_ref_features": ("reference", "features")}
"""What each of our arms keeps of earlier steps."""
TOLERANCE = 1e-4
"""Of losses in fp32, as a share: the log-probability of an answer is a sum near -1,000, whose last digits vary."""


def rows(side: int) -> list[dict[str, Any]]:
    """One pair; the answers differ from their first word on."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)

    def answer(first: int) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": " ".join(f"w{(first + 7 * n) % 60}" for n in range(ANSWER))}]

    prompt = [{"role": "user", "content": "describe the picture ."}]
    return [{"images": [picture], "prompt": prompt, "chosen": answer(1), "rejected": answer(2)}]


@dataclass(frozen=True)
class Step:
    """A way of training: seconds of a step and its loss are to be measured.

    Args:
        shared: image and prompt once for both answers; else TRL's own trainer.
        pairs: of a step.
        rank: of the adapter.
        attention: of the language model, as transformers names it, or where prompts are shared as `mmpref.vlm.kernels`
            does; None for its own choice.
    """

    shared: bool
    checkpointing: bool
    pairs: int = 1
    rank: int = 16
    attention: str | None = None


def vocabulary_of(setting: Setting) -> int | None:
    """The size of the output head; None for that of the tokenizer's few words."""
    return None if setting.shape == "tiny" else VOCABULARY


class Arm:
    """A trainer on a model of its own, and the batch that it is timed on."""

    def __init__(self, step: Step, folder: Path, setting: Setting, policy: Policy | None = None) -> None:
        policy = policy or setting.policy(vocabulary_of(setting))
        self.device = setting.device
        if step.attention and step.shared:
            policy.attn = step.attention
        elif step.attention:
            policy.decoder.set_attn_implementation(step.attention)
        used = trl_options.resolve(
            {"per_device_train_batch_size": step.pairs, "gradient_checkpointing": step.checkpointing},
            {"loss_type": ["sigmoid"], "beta": 0.1},
            seed=0,
            dtype=str(setting.dtype).removeprefix("torch."),
            dropout=False,
        )
        if setting.device == "cpu":
            used = {**used, "use_cpu": True, "bf16": False, "fp16": False}
        data = rows(setting.picture) * step.pairs
        common: dict[str, Any] = {
            "model": policy.model,
            "args": trl_options.config(used, folder),
            "train_dataset": Dataset.from_list(data),
            "processing_class": policy.processor,
            "peft_config": lora_config(policy, LoraSettings(step.rank, 2 * step.rank), False),
        }
        torch.manual_seed(0)
        if not step.shared:
            self.trainer = DPOTrainer(**common)
        else:
            self.trainer = PreferenceTrainer(
                **common,
                data_collator=PreferenceCollator(policy.processor),
                projector_learning_rate=0.0,
                shared=SharedForward(policy),
            )
        move(self.trainer.model)
        numbered = [{**row, **({ROW: number} if step.shared else {})} for number, row in enumerate(data)]
        self.batch = self.trainer._prepare_inputs(dict(self.trainer.data_collator(numbered)))
        self.pairs = step.pairs
        self.trainer.model.train()

    def know(self, what: str, path: Path) -> None:
        """Keep the reference's log-probabilities, or the vision tower's features, from the next step on."""
        if what == "reference":
            self.trainer._reference = ReferenceLogProbCache(path, self.pairs)
            self.trainer.precompute_ref_logps = True
        else:
            self.trainer._features = FeatureCache(path, 1e9)
        self.step()

    def step(self) -> tuple[float, float]:
        """Seconds, and the loss."""
        self.trainer.model.zero_grad()
        start = seconds(self.device)
        with self.trainer.compute_loss_context_manager():
            loss = self.trainer.compute_loss(self.trainer.model, dict(self.batch))
        loss.backward()
        return seconds(self.device) - start, loss.item()


def move(model: torch.nn.Module) -> None:
    """Make of a fresh adapter one that was trained: before, every loss is log 2, whatever the forward does."""
    numbers = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            with torch.no_grad():
                weight.copy_(torch.randn(weight.shape, generator=numbers) / weight.shape[-1])


def made(name: str, checkpointing: bool, folder: Path, setting: Setting) -> Arm:
    """An arm that knows what its name says, warm."""
    arm = Arm(Step(name in KNOWN, checkpointing), folder, setting)
    for what in KNOWN.get(name, ()):
        arm.know(what, folder / f"{name}-{checkpointing}-{what}")
    arm.step()
    return arm


def speed_ups(rounds: int, folder: Path, setting: Setting) -> dict[str, list[float]]:
    """Ratios of every round, arms taking turns."""
    found: dict[str, list[float]] = {}
    for checkpointing, suffix in ((False, ""), (True, "_checkpointing")):
        arms = {name: made(name, checkpointing, folder, setting) for name in ("trl", *KNOWN)}
        for number in range(rounds):
            spent = {name: arm.step() for name, arm in arms.items()}
            _compare(found, {name: loss for name, (_, loss) in spent.items()}, setting)
            taken = {name: one for name, (one, _) in spent.items()}
            _add(found, taken, suffix)
            shown = ", ".join(f"{name} {one:.2f} s" for name, one in taken.items())
            print(f"round {number + 1} of {rounds}{suffix.replace('_', ', ')}: {shown}", file=sys.stderr)
    return found


def one_by_one(rounds: int, folder: Path, setting: Setting) -> dict[str, list[float]]:
    """The same, each arm for all its rounds before the next one is made, and its peak memory; an arm that does not fit
    is left out."""
    found: dict[str, list[float]] = {}
    for checkpointing, suffix in ((False, ""), (True, "_checkpointing")):
        steps: dict[str, list[tuple[float, float]]] = {}
        for name in ("trl", *KNOWN):
            forget_peak(setting.device)
            try:
                arm = made(name, checkpointing, folder, setting)
                steps[name] = [arm.step() for _ in range(rounds)]
            except torch.OutOfMemoryError:
                print(f"{name}{suffix}: out of memory", file=sys.stderr)
                continue
            finally:
                arm = None  # its model goes before the next one comes
                gc.collect()
            found[f"gib_{name}{suffix}"] = [peak_gib(setting.device)]
        for spent in zip(*steps.values(), strict=True):
            by_name = dict(zip(steps, spent, strict=True))
            _compare(found, {name: loss for name, (_, loss) in by_name.items()}, setting)
            _add(found, {name: one for name, (one, _) in by_name.items()}, suffix)
    return found


def _add(found: dict[str, list[float]], taken: Mapping[str, float], suffix: str) -> None:
    for name, one in taken.items():
        if name in KNOWN and "trl" in taken:
            found.setdefault(name + suffix, []).append(taken["trl"] / one)
        found.setdefault(f"steps_a_second_{name}{suffix}", []).append(1 / one)


def _compare(found: dict[str, list[float]], losses: Mapping[str, float], setting: Setting) -> None:
    expected = next(iter(losses.values()))
    worst = max(abs(loss - expected) / abs(expected) for loss in losses.values())
    if not setting.is_exact:
        found.setdefault("loss_difference", []).append(worst)
    elif not worst <= TOLERANCE:
        raise SystemExit(f"Error: the arms' losses differ: {losses}")


def memory_of(arm: str) -> float:
    """MB over the loaded trainer, at the peak."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        arm_of_its_own = Arm(Step(arm == "shared", False), Path(folder), Setting())
        megabytes = resident_growth()
        arm_of_its_own.step()
        return megabytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--memory-of", choices=["trl", "shared"], help=argparse.SUPPRESS)
    add_options(parser)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory_of:
        print(memory_of(given.memory_of))
        return
    setting = setting_of(given)
    with tempfile.TemporaryDirectory() as folder:
        found = (speed_ups if setting.device == "cpu" else one_by_one)(given.rounds, Path(folder), setting)
    if setting == Setting():
        peaks = [(peak_memory(__file__, "shared"), peak_memory(__file__, "trl")) for _ in range(given.rounds)]
        found["memory"] = [shared / trl for shared, trl in peaks]
        found["gib_shared"], found["gib_trl"] = ([peak / 1024 for peak in arm] for arm in zip(*peaks, strict=True))
    result: dict[str, Any] = {name: round(statistics.median(values), 3) for name, values in found.items()}
    result["spread"] = {name: [round(min(values), 3), round(max(values), 3)] for name, values in found.items()}
    result["machine"] = {**machine(), **device_facts(setting.device)}
    if given.json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        print(f"{name:26} {value}")


if __name__ == "__main__":
    main()
