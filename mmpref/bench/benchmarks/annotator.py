"""A model as annotator: on labelled pairs, does it name the chosen answer in both orders? (arXiv 2407.02477, table 10).

The model is asked as `--annotator` would ask it (`mmpref.judges.annotator`), once with the chosen answer first and once
with it second. Any preference set will do that `mmpref train` takes (``--set benchmark.annotator.data=...``), such as::

    {"images": [<image>], "prompt": [{"role": "user", "content": "..."}], "chosen": [{"role": "assistant", ...}],
     "rejected": [{"role": "assistant", ...}], "source": "llava-reasoning"}

``accuracy`` is the share of pairs that are right in both orders, by ``source`` too where rows have one; a reply that
names no response is wrong, and counted as a parse failure. ``one_order`` is the share of replies that are right, and
``named_first`` the share of readable replies that name the response shown first: 0.5 without position bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import NONE_READ, Benchmark, BenchmarkSettings, Metric, Sample, Score, rate
from mmpref.bench.cells import images_key
from mmpref.bench.pairs import labelled_pairs
from mmpref.bench.parts import group_rate, parts_of
from mmpref.judges.annotator import INSTRUCTION, conversation_text, fill_template
from mmpref.judges.verdicts import choice
from mmpref.run.results import ALL
from mmpref.tables.table import Table
from mmpref.types import Message


@dataclass(frozen=True)
class AnnotatorSettings(BenchmarkSettings):
    """The preference set, and how the model is asked about it.

    Args:
        data: the preference set.
        instruction: a template of your own, with ``{prompt}``, ``{first}`` and ``{second}``.
        max_new_tokens: of a reply.
    """

    split: str = "train"
    instruction: str = INSTRUCTION
    max_new_tokens: int = 512


class _Annotator:
    def __init__(self, settings: AnnotatorSettings) -> None:
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for pair in labelled_pairs(table, limit):
            prompt, image_id = conversation_text(pair.prompt), images_key(pair.images, pair.number)
            image, *further = pair.images
            orders = ((pair.chosen, pair.rejected), (pair.rejected, pair.chosen))
            for place, (first, second) in enumerate(orders, 1):
                text = fill_template(self.settings.instruction, prompt=prompt, first=first, second=second)
                message, reference = Message("user", text), {"place": place, "part": pair.part}
                groups = dict.fromkeys((pair.part, ALL), str(pair.number))
                name = f"{pair.number}-{place}"
                samples.append(Sample(name, image_id, image, (message,), reference, groups, tuple(further)))
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        place = choice(answer)
        right = place == sample.reference["place"]
        counts = {
            "replies": 1.0,
            "right": float(right),
            "named": float(place is not None),
            "named_first": float(place == 1),
        }
        return Score(f"Response {place}" if place else "", counts, parse_failure=place is None, right=right)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        return [
            group_rate("accuracy", ALL, ALL, headline=True),
            *(group_rate("accuracy", part, part) for part in parts_of(scores)),
            rate("one_order", ALL, "right", "replies"),
            rate("named_first", ALL, "named_first", "named", None, empty=NONE_READ),
        ]


BENCHMARK = Benchmark(AnnotatorSettings, (), _Annotator)
