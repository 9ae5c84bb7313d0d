"""HallusionBench in its yes/no form: illusions and edited figures, right only where all of a figure's questions are.

A row of ``lmms-lab-encoder/HallusionBench`` (formerly ``lmms-lab/HallusionBench``), split ``image`` (951 rows); those
of ``non_image`` (178) are asked without an image::

    {"category": "VD", "subcategory": "illusion", "visual_input": "1", "set_id": "0", "figure_id": "0",
     "question_id": "0", "question": "Is the right orange circle the same size as the left orange circle?",
     "gt_answer": "1", "gt_answer_details": "The right orange circle is the same size ...", "image": <image>}

Official scorer: tianyi-lab/HallusionBench `utils.py`, where GPT-4 reads the answers. Here they are read as in
VLMEvalKit without a judge, so the metrics are called ``_yes_no``: aAcc over questions, fAcc over figures (of VS only
with a figure), qAcc over one question about all figures of its set, grouped as by the official scorer. As there, an
answer that is neither yes nor no is right where VS asks without a figure, which the model may not know, and wrong
elsewhere. Intervals resample sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import (
    Benchmark,
    CountKey,
    Metric,
    Sample,
    Score,
)
from mmpref.bench.cells import choice_cell, column_of, image_cell, text_cell, with_suffix
from mmpref.bench.parts import group_keys, group_rate, part_counts, part_rate, parts_of, whole_groups
from mmpref.bench.scoring import yes_no
from mmpref.bench.yes_no_words import YesNoSettings, YesNoTask
from mmpref.run.results import ALL
from mmpref.tables.open import open_table
from mmpref.tables.table import Row, Table, numbered_rows
from mmpref.types import Message


@dataclass(frozen=True)
class HallusionBenchSettings(YesNoSettings):
    """What is asked, and how; ``images`` is of the file names in ``filename``.

    Args:
        non_image_split: of the questions without an image; null leaves them out, as VLMEvalKit does.
        suffix: appended to every question; none as published.
    """

    split: str = "image"
    non_image_split: str | None = "non_image"
    suffix: str = ""


def _set_of(row: Row, where: str) -> str:
    """The set of figures that a row is about."""
    return "_".join(text_cell(row, key, where) for key in ("category", "subcategory", "set_id"))


class _HallusionBench(YesNoTask[HallusionBenchSettings]):
    name = "hallusionbench"

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        samples = [
            self._sample(row, where, table, f"{table.split}-{number}")
            for number, row, where in whole_groups(table, limit, _set_of)
        ]
        if not self.settings.non_image_split:
            return samples
        config, split = self.settings.config, self.settings.non_image_split
        other = open_table(table.spec, split, config=config, revision=table.revision)
        if other.fingerprint == table.fingerprint and not table.revision:  # one file has all of its rows in any split
            return samples
        asked = {sample.image_id for sample in samples}
        return samples + [
            self._sample(row, where, other, f"{split}-{number}")
            for number, row, where in numbered_rows(other, None)
            if limit is None or _set_of(row, where) in asked
        ]

    def _sample(self, row: Row, where: str, table: Table, name: str) -> Sample:
        kind, figure, question = (text_cell(row, key, where) for key in ("category", "figure_id", "question_id"))
        sets = _set_of(row, where)
        has_image = choice_cell(row, "visual_input", where, ("0", "1", "2")) != "0"
        reference = {
            "answer": self.truth(row, "gt_answer", where),
            "category": kind,
        }
        groups = {CountKey(part, "question"): f"{sets}_{question}" for part in (kind, ALL)}
        if kind == "VS" and figure == "0":
            reference["also_right"] = yes_no.UNKNOWN
        else:
            groups |= {CountKey(part, "figure"): f"{sets}_{figure}" for part in (kind, ALL)}
        message = Message("user", with_suffix(text_cell(row, "question", where), self.settings.suffix))
        column = column_of(row, "image", "filename")
        image = image_cell(row, where, table.images, column, self.settings.images) if has_image else None
        return Sample(name, sets, image, (message,), reference, groups)

    def score(self, sample: Sample, answer: str) -> Score:
        parsed = yes_no.parse(self.in_english(answer))
        right = parsed in (sample.reference["answer"], sample.reference.get("also_right"))
        counts = part_counts({"right": float(right), "n": 1.0}, sample.reference["category"], ALL)
        return Score(parsed, counts, parsed == yes_no.UNKNOWN, right)

    def metrics(self, scores: Sequence[Score]) -> list[Metric]:
        keys = {key for score in scores for key in score.counts}
        metrics = []
        for part in [ALL, *parts_of(scores)]:
            metrics.append(part_rate("aAcc_yes_no", part, "right", binary=True, headline=part == ALL))
            for name, kind in (("fAcc_yes_no", "figure"), ("qAcc_yes_no", "question")):
                group = CountKey(part, kind)
                metrics += [group_rate(name, part, group)] if keys.issuperset(group_keys(group)) else []
        return metrics


BENCHMARK = Benchmark(
    HallusionBenchSettings,
    ("lmms-lab-encoder/HallusionBench", "lmms-lab/HallusionBench"),
    _HallusionBench,
    hallucination=True,
    unit="sets of figures",
)
