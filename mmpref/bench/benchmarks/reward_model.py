"""A reward model on labelled pairs: does it give the chosen answer the higher value? (arXiv 2407.02477, table 7).

The model is a run of ``mmpref train --method reward-model`` or its Hub id, as ``--adapter`` beside its base. Any
preference set will do that it was not trained on (``--set benchmark.reward-model.data=...``); a row has::

    {"images": [<image>], "prompt": [{"role": "user", "content": "..."}], "chosen": [{"role": "assistant", ...}],
     "rejected": [{"role": "assistant", ...}], "source": "llava-reasoning"}

``accuracy`` is the share of pairs whose chosen answer has the higher value, by ``source`` too where rows have one;
equal values count half, so that a model without judgement, such as the base, is at 0.5. ``margin`` is by how much more
the chosen answer is valued.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import Benchmark, Metric, Sample, Score, rate
from mmpref.bench.reward_answerer import PAIR
from mmpref.errors import InputError
from mmpref.tables.cells import optional
from mmpref.tables.image_cells import image_key, image_of
from mmpref.tables.table import Table, numbered
from mmpref.tables.turns import turns_of


@dataclass(frozen=True)
class RewardModelSettings:
    """Args:
    data, config, split: the preference set.
    """

    data: str | None = None
    config: str | None = None
    split: str = "train"


class _RewardModel:
    max_new_tokens = 0

    def __init__(self, settings: RewardModelSettings) -> None:
        self.settings = settings

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for number, row, where in numbered(table, limit):
            image = image_of(row, where, table.root, "images" if "images" in row else "image")
            prompt = tuple(turns_of(row, "prompt", where))
            if prompt[-1].role != "user":
                raise InputError(f"{where}, column prompt ends with the {prompt[-1].role}'s turn, not with the user's.")
            answers = {name: "\n".join(turn.content for turn in turns_of(row, name, where)) for name in PAIR}
            reference = {**answers, "part": optional(row, "source") or "all"}
            samples.append(Sample(str(number), image_key(image, number), image, prompt, reference))
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        chosen, rejected = (json.loads(answer)[name] for name in PAIR) if answer else (0.0, 0.0)
        right = 1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0
        counts = {"right": right, "n": 1.0, "margin": chosen - rejected}
        named = {f"{part}/{key}": value for part in {sample.reference["part"], "all"} for key, value in counts.items()}
        return Score({1.0: "chosen", 0.5: "equal", 0.0: "rejected"}[right], named)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        parts = sorted(
            {name.removesuffix("/n") for score in scores for name in score.counts if name.endswith("/n")} - {"all"}
        )
        return [
            rate("accuracy", "all", "all/right", "all/n", headline=True),
            rate("margin", "all", "all/margin", "all/n"),
            *(rate("accuracy", part, f"{part}/right", f"{part}/n") for part in parts),
        ]


BENCHMARK = Benchmark(RewardModelSettings, (), _RewardModel, rewards=True)
