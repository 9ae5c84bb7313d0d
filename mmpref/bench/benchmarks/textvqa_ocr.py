"""TextVQA with the reference OCR tokens in the prompt, as LLaVA is usually scored on it (some 1.5 points more).

Rows, rule and suffix are those of `textvqa`; the line of tokens is LLaVA's (`llava_textvqa_val_v051_ocr.jsonl`)::

    What is the brand of this camera?
    Reference OCR token: ROLEI, DAKOTA, DIGITAL, SINGLE-USE
    Answer the question using a single word or phrase.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.bench.benchmark import Benchmark
from mmpref.bench.benchmarks import textvqa


@dataclass(frozen=True)
class TextVqaOcrSettings(textvqa.TextVqaSettings):
    """As `textvqa`'s, but ``ocr`` is not empty by default."""

    ocr: str = "\nReference OCR token: {tokens}"


BENCHMARK = Benchmark(TextVqaOcrSettings, textvqa.BENCHMARK.candidates, textvqa.TextVqaTask)
