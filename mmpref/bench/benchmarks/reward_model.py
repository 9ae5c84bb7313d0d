"""A reward model on labelled pairs: does it give the chosen answer the higher value? (arXiv 2407.02477, table 7).

The model is a run of ``mmpref train --method reward-model`` or its Hub id, as ``--adapter`` beside its base. Any
preference set will do that it was not trained on (``--set benchmark.reward-model.data=...``), such as::

    {"images": [<image>], "prompt": [{"role": "user", "content": "..."}], "chosen": [{"role": "assistant", ...}],
     "rejected": [{"role": "assistant", ...}], "source": "llava-reasoning"}

``accuracy`` is the share of pairs whose chosen answer has the higher value, by ``source`` too where rows have one;
equal values count half, so that a model without judgement, such as the base, is at 0.5. ``margin`` is by how much more
the chosen answer is valued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import Benchmark, BenchmarkSettings, Metric, Sample, Score
from mmpref.bench.cells import images_key
from mmpref.bench.pairs import Rewards, labelled_pairs
from mmpref.bench.parts import part_counts, part_rate, parts_of
from mmpref.run.results import ALL
from mmpref.tables.table import Table


@dataclass(frozen=True)
class RewardModelSettings(BenchmarkSettings):
    """What every benchmark has; the rows are a preference set."""

    split: str = "train"


class _RewardModel:
    max_new_tokens = 0

    def __init__(self, settings: RewardModelSettings) -> None:
        self.settings = settings

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for pair in labelled_pairs(table, limit):
            reference = {"chosen": pair.chosen, "rejected": pair.rejected, "part": pair.part}
            image, *further = pair.images
            image_id = images_key(pair.images, pair.number)
            samples.append(
                Sample(str(pair.number), image_id, image, pair.prompt, reference, further_images=tuple(further))
            )
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        rewards = Rewards.read(answer)
        counts = {"right": rewards.right, "n": 1.0, "margin": rewards.chosen - rewards.rejected}
        return Score(rewards.preferred, part_counts(counts, sample.reference["part"], ALL))

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            part_rate("accuracy", ALL, "right", binary=True, headline=True),
            part_rate("margin", ALL, "margin"),
            *(part_rate("accuracy", part, "right", binary=True) for part in parts_of(scores)),
        ]


BENCHMARK = Benchmark(RewardModelSettings, (), _RewardModel, rewards=True)
