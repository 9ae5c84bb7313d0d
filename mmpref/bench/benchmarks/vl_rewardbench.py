"""VL-RewardBench: a model as judge of pairs of answers, in both orders (arXiv 2411.17451).

A row of ``MMInstruction/VL-RewardBench``, split ``test``; the better response is that of rank 0::

    {"id": "RLAIF-V-0", "query": "What is on the table?", "response": ["A cup.", "A cup and a cat."],
     "human_ranking": [0, 1], "image": <image>, "models": ["...", "..."], "judge": [...], "rationale": [...],
     "query_source": "..."}

Official scorer: vl-rewardbench/VL_RewardBench `inference_hf.py` and `cal.py` (commit 9b10abd). ``accuracy`` is the
share of the readable verdicts that name the better answer, by group too, and ``macro_accuracy`` the mean of the
groups'. There the order is drawn, for each of several asks; here both are asked once, which gives the same on
average. ``both_orders`` is the share of pairs that are right in both, ``named_first`` that of verdicts for the answer
shown first. The instruction has the published criteria and form of verdict in our words; ``instruction`` takes the
authors' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mmpref.bench.benchmark import NONE_READ, Benchmark, BenchmarkSettings, CountKey, Metric, Sample, Score, ratio
from mmpref.bench.cells import image_cell, image_key, list_cell, text_cell, value_of
from mmpref.bench.parts import group_rate, part_counts, part_rate, parts_of
from mmpref.bench.scoring.vl_rewardbench import better, group_of
from mmpref.errors import InputError
from mmpref.judges.annotator import fill_template
from mmpref.run.results import ALL
from mmpref.tables.cells import unpacked
from mmpref.tables.table import Row, Table, numbered_rows
from mmpref.types import ImageData, Message

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import Sums

INSTRUCTION = """\
You judge answers to questions about images. Look at the image and the question, and decide which of two answers is \
the better one.

Question: {prompt}

Answer 1: {first}

Answer 2: {second}

Judge both by accuracy (does the answer agree with the image?), completeness (is the whole question answered?), \
clarity (is it easy to understand?) and relevance (is it about the question and the image?). Give your reasons for \
each of these, and end with your verdict in this form: Overall Judgment: Answer X is better."""


_RESPONSES = 2


class RankedPair(NamedTuple):
    """A row: its number and group, the image, the question, and the better and the worse answer."""

    number: int
    group: str
    image: ImageData
    query: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class VlRewardBenchSettings(BenchmarkSettings):
    """How the model is asked.

    Args:
        instruction: a template with ``{prompt}``, ``{first}`` and ``{second}``.
        max_new_tokens: of a verdict with its reasons.
    """

    instruction: str = INSTRUCTION
    max_new_tokens: int = 2048


def ranked_pairs(table: Table, limit: int | None) -> Iterator[RankedPair]:
    """The pairs of VL-RewardBench's rows.

    Raises:
        InputError: a row without two responses, or whose ranks are not 0 and 1.
    """
    for number, row, where in numbered_rows(table, limit):
        responses, best = list_cell(row, "response", where), _best(row, where)
        if len(responses) != _RESPONSES:
            raise InputError(f"{where}, column response has {len(responses)} entries, not 2.")
        image = image_cell(row, where, table.images)
        query = text_cell(row, "query", where).replace("<image>\n", "")
        group = group_of(text_cell(row, "id", where))
        yield RankedPair(number, group, image, query, responses[best], responses[1 - best])


def _best(row: Row, where: str) -> int:
    """Which response has the rank 0."""
    ranks = unpacked(value_of(row, "human_ranking", where))
    if ranks not in ([0, 1], [1, 0]):
        raise InputError(f"{where}, column human_ranking is {str(ranks)[:80]}, neither [0, 1] nor [1, 0].")
    return int(ranks.index(0))


def macro_accuracy(groups: Sequence[str], bottom: str) -> Metric:
    """The mean over groups of right over ``bottom``."""

    def value(sums: Sums) -> np.ndarray:
        import numpy as np

        shares = [ratio(sums[CountKey(group, "right")], sums[CountKey(group, bottom)]) for group in groups]
        mean: np.ndarray = np.mean(shares, axis=0)
        return mean

    return Metric("macro_accuracy", ALL, value, CountKey(ALL, bottom), headline=True)


class _VlRewardBench:
    def __init__(self, settings: VlRewardBenchSettings) -> None:
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = []
        for pair in ranked_pairs(table, limit):
            orders = ((pair.chosen, pair.rejected), (pair.rejected, pair.chosen))
            image_id = image_key(pair.image, pair.number)
            for place, (first, second) in enumerate(orders, 1):
                text = fill_template(self.settings.instruction, prompt=pair.query, first=first, second=second)
                reference: Mapping[str, object] = {"place": place, "group": pair.group}
                groups = {CountKey(ALL, "pair"): str(pair.number)}
                name = f"{pair.number}-{place}"
                samples.append(Sample(name, image_id, pair.image, (Message("user", text),), reference, groups))
        return samples

    def score(self, sample: Sample, answer: str) -> Score:
        said = better(answer)
        right = said == sample.reference["place"]
        counts = {"right": float(right), "read": float(said is not None), "first": float(said == 1), "n": 1.0}
        parts = part_counts(counts, sample.reference["group"], ALL)
        return Score(f"Answer {said}" if said else "", parts, said is None, right)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        groups = parts_of(scores)
        return [
            macro_accuracy(groups, "read"),
            *(part_rate("accuracy", part, "right", "read") for part in (ALL, *groups)),
            group_rate("both_orders", ALL, CountKey(ALL, "pair")),
            part_rate("named_first", ALL, "first", "read", None, empty=NONE_READ),
        ]


BENCHMARK = Benchmark(VlRewardBenchSettings, ("MMInstruction/VL-RewardBench",), _VlRewardBench)
