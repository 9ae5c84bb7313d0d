"""A training step against TRL's DPOTrainer: python scripts/bench_dpo.py [--rounds N] [--json].

A random LLaVA-NeXT in fp32 on one thread, 2928 image tokens, answers of 100 tokens, a vocabulary of 32,064 as
LLaVA-1.6-Vicuna's, LoRA of rank 16 on the language model, projector frozen, sigmoid loss, one pair a step: forward,
backward, no optimizer. The arms of a round run one after the other, and every figure is the median over rounds of
TRL's CPU time over the arm's within a round. Every arm must give TRL's loss within 1e-5, or the script fails.

* shared: image and prompt once for both answers
* shared_ref: the same with the reference's log-probabilities known (every epoch but the first)
* shared_ref_features: the same with the vision tower's features read from disk, as they were kept
* the same three with _checkpointing behind: with gradient checkpointing in all arms
* memory: peak of resident memory over the loaded trainer, as a share of TRL's, each in a process of its own
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from bench_bdhs import machine, random_policy
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
from mmpref.vlm.shared_prefix_forward import SharedForward

ANSWER = 100
VOCABULARY = 32064


def rows() -> list[dict[str, Any]]:
    """One pair; the answers differ from their first word on."""
    pixels = np.random.default_rng(0).integers(0, 256, (672, 672, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)

    def answer(first: int) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": " ".join(f"w{(first + 7 * n) % 60}" for n in range(ANSWER))}]

    prompt = [{"role": "user", "content": "describe the picture ."}]
    return [{"images": [picture], "prompt": prompt, "chosen": answer(1), "rejected": answer(2)}]


class Arm:
    """A trainer on a model of its own, and the batch that it is timed on."""

    def __init__(self, shared: bool, checkpointing: bool, folder: Path) -> None:
        policy = random_policy(VOCABULARY)
        used = trl_options.resolve(
            {"per_device_train_batch_size": 1, "gradient_checkpointing": checkpointing},
            {"loss_type": ["sigmoid"], "beta": 0.1},
            seed=0,
            dtype="float32",
            dropout=False,
        )
        data = rows()
        common: dict[str, Any] = {
            "model": policy.model,
            "args": trl_options.config(used, folder),
            "train_dataset": Dataset.from_list(data),
            "processing_class": policy.processor,
            "peft_config": lora_config(policy, LoraSettings(16, 32), False),
        }
        torch.manual_seed(0)
        if not shared:
            self.trainer = DPOTrainer(**common)
        else:
            self.trainer = PreferenceTrainer(
                **common,
                data_collator=PreferenceCollator(policy.processor),
                projector_learning_rate=0.0,
                shared=SharedForward(policy),
            )
        self.batch = dict(self.trainer.data_collator([{**data[0], **({ROW: 0} if shared else {})}]))
        self.trainer.model.train()

    def know_reference(self, path: Path) -> None:
        self.trainer._reference = ReferenceLogProbCache(path, 1)
        self.trainer.precompute_ref_logps = True
        self.step()

    def know_features(self, path: Path) -> None:
        self.trainer._features = FeatureCache(path, 1e9)
        self.step()

    def step(self) -> tuple[float, float]:
        """CPU seconds, and the loss."""
        self.trainer.model.zero_grad()
        start = time.process_time()
        loss = self.trainer.compute_loss(self.trainer.model, dict(self.batch))
        loss.backward()
        return time.process_time() - start, loss.item()


def speed_ups(rounds: int, folder: Path) -> dict[str, list[float]]:
    ratios: dict[str, list[float]] = {}
    for checkpointing, suffix in ((False, ""), (True, "_checkpointing")):
        arms = {
            "trl": Arm(False, checkpointing, folder),
            "shared": Arm(True, checkpointing, folder),
            "shared_ref": Arm(True, checkpointing, folder),
            "shared_ref_features": Arm(True, checkpointing, folder),
        }
        for name in ("shared_ref", "shared_ref_features"):
            arms[name].know_reference(folder / f"{name}{suffix}")
        arms["shared_ref_features"].know_features(folder / f"features{suffix}")
        for arm in arms.values():
            arm.step()  # warms up
        for number in range(rounds):
            spent = {name: arm.step() for name, arm in arms.items()}
            expected = spent["trl"][1]
            if any(abs(loss - expected) > 1e-5 * abs(expected) for _, loss in spent.values()):
                raise SystemExit(f"Error: the arms' losses differ: {spent}")
            seconds = {name: one for name, (one, _) in spent.items()}
            for name in list(arms)[1:]:
                ratios.setdefault(name + suffix, []).append(seconds["trl"] / seconds[name])
            shown = ", ".join(f"{name} {one:.2f} s" for name, one in seconds.items())
            print(f"round {number + 1} of {rounds}{suffix.replace('_', ', ')}: {shown}", file=sys.stderr)
    return ratios


def peak_memory(arm: str) -> float:
    """MB over the loaded trainer, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--memory-of", arm], stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout.split()[-1])


def memory_of(arm: str) -> float:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = Arm(arm == "shared", False, Path(folder))
        status = Path("/proc/self/status")
        before = _kilobytes(status, "VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        made.step()
        return (_kilobytes(status, "VmHWM") - before) / 1024


def _kilobytes(status: Path, field: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(field + ":"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--memory-of", choices=["trl", "shared"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory_of:
        print(memory_of(given.memory_of))
        return
    with tempfile.TemporaryDirectory() as folder:
        ratios = speed_ups(given.rounds, Path(folder))
    ratios["memory"] = [peak_memory("shared") / peak_memory("trl") for _ in range(given.rounds)]
    result: dict[str, Any] = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    result["spread"] = {name: [round(min(values), 3), round(max(values), 3)] for name, values in ratios.items()}
    result["machine"] = machine()
    if given.json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        print(f"{name:26} {value}")


if __name__ == "__main__":
    main()
