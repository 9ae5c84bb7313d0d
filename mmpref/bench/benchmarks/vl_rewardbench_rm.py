"""VL-RewardBench for reward models: does the better answer get the higher value? (arXiv 2411.17451).

Rows and groups are those of `mmpref.bench.benchmarks.vl_rewardbench`; the model is a run of ``mmpref train --method
reward-model`` or its Hub id, as ``--adapter`` beside its base. ``accuracy`` is the share of pairs whose better answer
has the higher value, equal values half; ``macro_accuracy`` is the mean of the groups'.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.bench.benchmark import Benchmark, BenchmarkSettings, Metric, Sample, Score
from mmpref.bench.benchmarks.vl_rewardbench import macro_accuracy, ranked_pairs
from mmpref.bench.cells import image_key
from mmpref.bench.pairs import Rewards
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.run.results import ALL
from mmpref.tables.table import Table
from mmpref.types import Message


class _RewardModel:
    max_new_tokens = 0

    def __init__(self, settings: BenchmarkSettings) -> None:
        self.settings = settings

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        return [
            Sample(
                str(pair.number),
                image_key(pair.image, pair.number),
                pair.image,
                (Message("user", pair.query),),
                {"chosen": pair.chosen, "rejected": pair.rejected, "group": pair.group},
            )
            for pair in ranked_pairs(table, limit)
        ]

    def score(self, sample: Sample, answer: str) -> Score:
        rewards = Rewards.read(answer)
        return Score(rewards.preferred, part_counts({"right": rewards.right, "n": 1.0}, sample.reference["group"], ALL))

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        groups = parts_of(scores)
        return [
            macro_accuracy(groups, "n"),
            *(part_rate("accuracy", part, "right", binary=True) for part in (ALL, *groups)),
        ]


BENCHMARK = Benchmark(BenchmarkSettings, ("MMInstruction/VL-RewardBench",), _RewardModel, rewards=True)
