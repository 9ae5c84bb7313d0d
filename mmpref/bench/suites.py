"""Names that stand for several benchmarks: ``--benchmark hallucination``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmpref.bench.benchmark import BENCHMARKS
from mmpref.errors import UsageError

CAPABILITIES = tuple(
    f"lmms-eval:{task}"
    for task in (
        *("mmmu_val", "mmbench_en_dev_static", "scienceqa_img", "vqav2_val_lite", "seedbench_lite", "realworldqa"),
        *("mathvista_testmini_format", "chartqa", "ocrbench"),
    )
)
"""Whether something else got worse: by lmms-eval's own tasks (`mmpref.bench.benchmarks.lmms_eval`). Of VQAv2 and SEED
its small sets: the images of all 214,354 questions fill a machine's memory, and SEED's 17,990 are too many to resample.
"""
_JUDGED = ("lmms-eval:mathvista_testmini_format",)
"""Those that ask a judge by themselves, which lmms-eval takes from the environment (`mmpref.bench.lmms_eval_judge`)."""
_OPENAI, _AZURE = ("OPENAI_API_KEY",), ("AZURE_API_KEY", "AZURE_ENDPOINT")
_KEYS = {"openai": _OPENAI, "async_openai": _OPENAI, "azure": _AZURE, "async_azure": _AZURE}
"""``API_TYPE`` -> the variables without which lmms-eval's judges of that kind cannot be asked; others need none."""
_ELSEWHERE = {
    _OPENAI: "(and OPENAI_API_URL or MODEL_VERSION for another server or model)",
    _AZURE: "(and MODEL_VERSION for another model)",
}
SUITES = {
    "capabilities": "MMMU, MMBench, ScienceQA, RealWorldQA, MathVista, ChartQA, OCRBench, and small sets of VQAv2 and "
    "SEED, of lmms-eval; MathVista's judge takes OPENAI_API_KEY",
    "hallucination": "every benchmark here of what answers say that the image does not show",
}
"""What each is of."""


def members(suite: str) -> tuple[str, ...]:
    """The benchmarks of a suite; none of a name that is no suite."""
    if suite == "capabilities":
        return CAPABILITIES
    if suite == "hallucination":
        return tuple(name for name in BENCHMARKS.names() if BENCHMARKS.get(name).hallucination)
    return ()


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """Names of benchmarks, each once, with those of suites in the place of their suite."""
    return tuple(dict.fromkeys(one for name in names for one in (members(name) or (name,))))


def refuse_no_key(benchmarks: Sequence[str]) -> None:
    """Refuse a member whose judge cannot be asked before the data of all others are loaded.

    Raises:
        UsageError: the key of its judge is not set, or the address of one that has none of its own.
    """
    judged = [name for name in benchmarks if name in _JUDGED]
    needed = _KEYS.get(os.environ.get("API_TYPE", "openai"), ())
    unset = [name for name in needed if not os.environ.get(name)]
    if not judged or not unset or Path(".env").is_file():  # which lmms-eval reads
        return
    others = " ".join(f"--benchmark={name}" for name in benchmarks if name not in judged)
    raise UsageError(
        f"The benchmark {judged[0]} asks a judge by itself, for which {' and '.join(unset)} must be set.",
        f"Set {'it' if len(unset) == 1 else 'them'} {_ELSEWHERE[needed]}"
        + (f", or leave it out: {others}" if others else "."),
    )
