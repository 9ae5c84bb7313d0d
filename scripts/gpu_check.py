"""What mmpref does on a GPU, in one go of some ten minutes: python scripts/gpu_check.py --output FILE [--device cuda].

* correctness: every family in fp32 and bf16 against a CPU in fp32; every training method two steps in bf16; resuming
* speed at LLaVA-1.6-7B's true shape with random weights in bf16: building pairs, DPO, evaluation; a profile of each
* memory: the largest batches that fit for building and for training at rank 128; QLoRA in 4 bits

Stages run one after the other, each bounded in time, and what they find is in the file at once, so that a cut loses
nothing. They share a process; where one takes it down, or does not stop in time, the next ones get another. On a CPU
(`--device cpu`) all of it runs at tiny shapes, to try the script itself: no figure of it means anything.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

os.environ.setdefault("OMP_NUM_THREADS", "1" if "cpu" in sys.argv else "8")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from gpu import correctness, memory, speed  # noqa: E402
from gpu.stage import Overrun, Report, Stage, run_stage  # noqa: E402
from gpu.supervise import supervise  # noqa: E402

STAGES = (
    Stage("environment", 15, speed.environment),
    Stage("families", 100, correctness.families),
    Stage("methods", 90, correctness.methods),
    Stage("resume", 25, correctness.resume),
    Stage("two processes", 5, correctness.two_processes),
    Stage("build", 80, speed.build),
    Stage("dpo", 95, speed.dpo),
    Stage("evaluation", 45, speed.evaluation),
    Stage("profile", 45, speed.profile),
    Stage("kernels", 45, correctness.kernels),
    Stage("steps", 45, speed.steps),
    Stage("memory", 60, memory.largest_batches),
    Stage("qlora", 60, memory.qlora),
)
PATIENCE = 4
"""Times its seconds that a stage may take on a CPU, which may be busy."""


def stages_for(device: str, names: Sequence[str]) -> list[Stage]:
    patience = PATIENCE if device == "cpu" else 1
    return [replace(stage, seconds=patience * stage.seconds) for stage in STAGES if stage.name in names]


def work(stages: Sequence[Stage], report: Report, device: str) -> None:
    """Run stages in this process."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Overrun

    signal.signal(signal.SIGALRM, stop)
    for stage in stages:
        signal.setitimer(signal.ITIMER_REAL, stage.seconds)
        with tempfile.TemporaryDirectory() as folder:
            run_stage(stage, report, device, device == "cpu", Path(folder))
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.collect()
        if device != "cpu":
            import torch

            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON; written anew")
    parser.add_argument("--device", default="cuda", help="default: cuda; cpu tries the script at tiny shapes")
    parser.add_argument("--seconds", type=float, help="after which nothing goes on; default: 540, on a CPU 1800")
    names = [stage.name for stage in STAGES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="STAGE", help=", ".join(names))
    parser.add_argument("--work", nargs="+", choices=names, help=argparse.SUPPRESS)
    options = parser.parse_args()
    report = Report(options.output)
    if options.work:
        work(stages_for(options.device, options.work), report, options.device)
        return
    options.output.unlink(missing_ok=True)
    limit = options.seconds or (1800 if options.device == "cpu" else 540)
    command = [sys.executable, __file__, "--output", str(options.output), "--device", options.device, "--work"]
    supervise(stages_for(options.device, options.only), report, command, limit)
    found = report.read()["stages"]
    for name, entry in found.items():
        print(f"{name:15} {entry['status']:8} {entry.get('seconds', 0):6.1f} s  {entry.get('reason', '')}")
    if any(entry["status"] not in ("done", "skipped") for entry in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
