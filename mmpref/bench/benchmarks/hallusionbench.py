"""HallusionBench in its yes/no form: illusions and edited figures, right only where all of a figure's questions are.

A row of ``lmms-lab-encoder/HallusionBench`` (formerly ``lmms-lab/HallusionBench``), split ``image`` (951 rows); those
of ``non_image`` (178) are asked without an image::

    {"category": "VD", "subcategory": "illusion", "visual_input": "1", "set_id": "0", "figure_id": "0",
     "question_id": "0", "question": "Is the right orange circle the same size as the left orange circle?",
     "gt_answer": "1", "gt_answer_details": "The right orange circle is the same size ...", "image": <image>}

Official scorer: tianyi-lab/HallusionBench `utils.py`, where GPT-4 reads the answers. Here they are read as in
VLMEvalKit without a judge, so the metrics are called ``_yes_no``: aAcc over questions, fAcc over figures (of VS only
with a figure), qAcc over one question about all figures of its set, grouped as by the official scorer. Intervals
resample sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpref.bench.benchmark import PLACE, Benchmark, Metric, Sample, Score, rate
from mmpref.bench.groups import group_rate
from mmpref.bench.scoring import yes_no
from mmpref.tables.cells import column_of, one_of, text
from mmpref.tables.image_cells import image_of
from mmpref.tables.open import open_table
from mmpref.tables.table import Row, Table, numbered
from mmpref.types import Message


@dataclass(frozen=True)
class HallusionBenchSettings:
    """Args:
    data, config, split: where the rows are; by default the Hub's.
    non_image_split: of the questions without an image; null leaves them out, as VLMEvalKit does.
    suffix: appended to every question; none as published.
    max_new_tokens: of an answer.
    images: folder of the images that rows name (``filename``), where it is not the rows' own.
    """

    data: str | None = None
    config: str | None = None
    split: str = "image"
    non_image_split: str | None = "non_image"
    suffix: str = ""
    max_new_tokens: int = 128
    images: str | None = field(default=None, metadata=PLACE)


class _HallusionBench:
    def __init__(self, settings: HallusionBenchSettings) -> None:
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        tables = [table]
        if self.settings.non_image_split:
            config, split = self.settings.config, self.settings.non_image_split
            other = open_table(table.spec, split, config=config, revision=table.revision)
            if other.fingerprint != table.fingerprint or table.revision:  # one file has all of its rows in any split
                tables.append(other)
        return [
            self._sample(row, where, one, f"{one.split}-{number}")
            for one in tables
            for number, row, where in numbered(one, limit)
        ]

    def _sample(self, row: Row, where: str, table: Table, name: str) -> Sample:
        kind, figure, question = (text(row, key, where) for key in ("category", "figure_id", "question_id"))
        sets = "_".join(text(row, key, where) for key in ("category", "subcategory", "set_id"))
        seen = one_of(row, "visual_input", where, ("0", "1", "2")) != "0"
        reference = {"answer": "yes" if one_of(row, "gt_answer", where, ("0", "1")) == "1" else "no", "category": kind}
        groups = {f"{part}/question": f"{sets}_{question}" for part in (kind, "all")}
        if not (kind == "VS" and figure == "0"):
            groups |= {f"{part}/figure": f"{sets}_{figure}" for part in (kind, "all")}
        message = Message("user", text(row, "question", where) + self.settings.suffix)
        column = column_of(row, "image", "filename")
        image = image_of(row, where, table.root, column, self.settings.images) if seen else None
        return Sample(name, sets, image, (message,), reference, groups)

    def score(self, sample: Sample, answer: str) -> Score:
        said = yes_no.parse(answer)
        right = said == sample.reference["answer"]
        counts = {
            f"{part}/{key}": value
            for part in (sample.reference["category"], "all")
            for key, value in {"right": float(right), "n": 1.0}.items()
        }
        return Score(said, counts, said == "unknown", right)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        names = {name for score in scores for name in score.counts}
        parts = sorted({name.partition("/")[0] for name in names} - {"all"})
        metrics = []
        for part in ["all", *parts]:
            metrics.append(rate("aAcc_yes_no", part, f"{part}/right", f"{part}/n", binary=True, headline=part == "all"))
            for name, group in (("fAcc_yes_no", f"{part}/figure"), ("qAcc_yes_no", f"{part}/question")):
                metrics += [group_rate(name, part, group)] if f"{group}/n" in names else []
        return metrics


BENCHMARK = Benchmark(
    HallusionBenchSettings, ("lmms-lab-encoder/HallusionBench", "lmms-lab/HallusionBench"), _HallusionBench
)
