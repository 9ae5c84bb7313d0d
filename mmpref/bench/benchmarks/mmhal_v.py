"""MMHal-Bench with a judge that sees the image too (MMHALBench-V of arXiv 2407.02477); rows and scale are `mmhal`'s.

The image goes into the judge's user turn, and the list of its contents stays in the text.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from mmpref.bench.benchmarks import mmhal

BENCHMARK = replace(mmhal.BENCHMARK, task=partial(mmhal.MmhalTask, sees=True))
