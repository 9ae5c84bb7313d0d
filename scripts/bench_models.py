"""What the benches run on: a random LLaVA-NeXT of a known shape, on a device, and the clock of that device.

* tiny: for tests; a picture is 88 image tokens
* small: LLaVA-1.6's image grid with a language model of 8 layers x 512; a picture is 2928 image tokens
* llava-1.6-7b: the true shape; a picture is 2928 image tokens
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from bench_sizes import SHAPES as TRUE_SHAPES
from bench_sizes import TOWER as TRUE_TOWER
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from mmpref.types import ModelRef
from mmpref.vlm.families import find_family
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import template, tokenizer

PEAKS = {"H100": 800e12, "H200": 800e12, "A100": 312e12}
"""bf16 operations a second that a large matrix product reaches or, for the A100, that its maker names."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a random LLaVA-NeXT.

    Args:
        text: of the language model, as `transformers.LlamaConfig` takes it.
        tower: of the vision tower, as `transformers.CLIPVisionConfig` takes it.
        spread: standard deviation of the random weights; wide enough that different prompts give different tokens.
        vocabulary: of the output head where nobody names another; None for that of the tokenizer's few words.
        on_device: make the weights where they are used: too many to be made elsewhere, and other numbers there.
    """

    text: dict[str, Any]
    tower: dict[str, Any]
    spread: float
    vocabulary: int | None = None
    on_device: bool = False

    @property
    def picture(self) -> int:
        """Width and height in pixels of a picture that fills the grid."""
        return 2 * int(self.tower["image_size"])


SHAPES = {
    "tiny": Shape(
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 16,
            "patch_size": 4,
        },
        0.3,
    ),
    "small": Shape(
        {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8},
        {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 336,
            "patch_size": 14,
        },
        0.1,
    ),
    "llava-1.6-7b": Shape(
        {key: value for key, value in TRUE_SHAPES["LLaVA-1.6-7B"].items() if key != "vocab_size"},
        TRUE_TOWER,
        0.02,
        TRUE_SHAPES["LLaVA-1.6-7B"]["vocab_size"],
        True,
    ),
}


@dataclass(frozen=True)
class Setting:
    """Where a bench runs, and on what.

    Args:
        device: such as ``cpu`` or ``cuda``.
        dtype: of the weights.
        shape: a name in `SHAPES`.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    shape: str = "small"

    @property
    def is_exact(self) -> bool:
        """Whether equal work gives equal tokens: elsewhere than in fp32 on a CPU, sums in another order may not."""
        return self.device == "cpu" and self.dtype == torch.float32

    @property
    def picture(self) -> int:
        """As `Shape.picture`."""
        return SHAPES[self.shape].picture

    def policy(self, vocabulary: int | None = None) -> Policy:
        """As `random_policy`."""
        return random_policy(SHAPES[self.shape], vocabulary, self.device, self.dtype)


def random_policy(
    shape: Shape = SHAPES["small"],
    vocabulary: int | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Policy:
    """LLaVA-NeXT with seeded random weights, whose answers have their full length.

    Args:
        vocabulary: size of the output head, by default the shape's.
    """
    torch.manual_seed(0)
    words = tokenizer(image_token="<image>")
    text = hf.LlamaConfig(
        **{"num_key_value_heads": shape.text["num_attention_heads"], **shape.text},
        vocab_size=vocabulary or shape.vocabulary or len(words),
        max_position_embeddings=8192,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=shape.spread,
        tie_word_embeddings=False,
    )
    processor = next_processor(shape, words)
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**shape.tower),
        text_config=text,
        image_token_index=words.image_token_id,
        image_grid_pinpoints=processor.image_processor.image_grid_pinpoints,
    )
    with torch.device(device if shape.on_device else "cpu"):
        model = hf.LlavaNextForConditionalGeneration(config)
    place(model, device, dtype)
    model.generation_config.eos_token_id = None
    policy = Policy(model, processor, find_family("llava_next", "random"), ModelRef("random"))
    policy.eos_ids = set()
    return policy


def next_processor(shape: Shape, words: Any) -> hf.LlavaNextProcessor:
    """LLaVA-NeXT's processor for a tower.

    Args:
        words: the tokenizer.
    """
    side = shape.tower["image_size"]
    pinpoints = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side], [3 * side, side], [side, 3 * side]]
    square = {"height": side, "width": side}
    return hf.LlavaNextProcessor(
        LlavaNextImageProcessorPil(size={"shortest_edge": side}, crop_size=square, image_grid_pinpoints=pinpoints),
        words,
        patch_size=shape.tower["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )


def place(model: torch.nn.Module, device: str, dtype: torch.dtype) -> None:
    """Move a model and cast its parameters; buffers keep their dtype, rotary frequencies above all."""
    model.eval().to(device)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def seconds(device: str) -> float:
    """A clock to take differences of: CPU time of this process; on an accelerator the time that passes until it has
    done all that it was given."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(device: str, work: Callable[[], Any], times: int = 1) -> float:
    """Seconds of some work, by `seconds`: the mean over a number of times, after one that warms up."""
    work()
    start = seconds(device)
    for _ in range(times):
        work()
    return (seconds(device) - start) / times


def forget_peak(device: str) -> None:
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: str) -> float:
    """GiB that were in use at most: of the accelerator since `forget_peak`, or of this process so far."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return torch.cuda.max_memory_allocated() / 2**30


def peak_memory(script: str, arm: str) -> float:
    """MB that ``python script --memory-of arm`` prints: each arm in a process of its own."""
    done = subprocess.run([sys.executable, script, "--memory-of", arm], stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout.split()[-1])


def resident_growth() -> Callable[[], float]:
    """Forget the peak of this process's resident memory, and count from here: how many MB it grew by at most."""
    before = _kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    return lambda: (_kilobytes("VmHWM") - before) / 1024


def _kilobytes(field: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))


def machine() -> dict[str, Any]:
    """CPU, cores, threads and versions, which stand beside every recorded number."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": hf.__version__,
        "python": platform.python_version(),
    }


def device_facts(device: str) -> dict[str, Any]:
    """Name, memory in GiB and known peak of an accelerator; nothing of a CPU."""
    if device == "cpu":
        return {}
    found = torch.cuda.get_device_properties(device)
    peak = next((peak for name, peak in PEAKS.items() if name in found.name), None)
    return {"device": found.name, "memory_gib": round(found.total_memory / 2**30, 1), "peak_flops": peak}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every bench that say where it runs."""
    parser.add_argument("--device", default="cpu", help="such as cuda; default: cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--shape", default="small", choices=list(SHAPES), help="of the model; default: small")


def setting_of(options: argparse.Namespace) -> Setting:
    return Setting(options.device, getattr(torch, options.dtype), options.shape)


@dataclass
class Agreement:
    """How much of their tokens two ways of the same work share.

    Args:
        exact: whether they must share all.
        equal, all: tokens that were compared.
    """

    exact: bool
    equal: int = 0
    all: int = 0

    def add(self, got: list[list[int]], expected: list[list[int]]) -> None:
        """Compare answers.

        Raises:
            SystemExit: they differ where they must not.
        """
        for mine, other in zip(got, expected, strict=True):
            self.all += len(other)
            self.equal += sum(a == b for a, b in zip(mine, other, strict=False))
        if self.exact and self.equal < self.all:
            raise SystemExit("Error: two arms gave different tokens.")

    @property
    def share(self) -> float:
        return self.equal / max(1, self.all)
