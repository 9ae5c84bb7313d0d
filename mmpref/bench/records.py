"""What an evaluation keeps for comparisons with others, as Parquet: a row for each sample, and a row for each metric's
values in all resamples."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import Sample, Score
from mmpref.bench.parts import groups_of
from mmpref.run.files import write_atomic
from mmpref.run.results import RESAMPLES, Key

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Record:
    """One kept answer, as comparisons read it.

    Args:
        missing: it has no score; counted: the run's results are over it: with an adapter, both models have a score.
        groups: which it belongs to (`mmpref.bench.parts.groups_of`); right: for them.
    """

    id: str
    image_id: str
    prompt: str
    reference: str
    answer: str | None
    missing: bool
    counted: bool
    counts: Mapping[str, float]
    groups: Mapping[str, str] = field(default_factory=dict)
    right: bool = False

    @property
    def answered(self) -> bool:
        return self.answer is not None


def records_path(run: Path, model: str, benchmark: str) -> Path:
    return run / "samples" / f"{model}-{benchmark}.parquet"


def write_records(
    path: Path,
    samples: Sequence[Sample],
    answers: Sequence[str | None],
    scores: Sequence[Score],
    missing: Set[str],
    counted: Set[str],
    verdicts: Sequence[str | None] | None = None,
) -> None:
    """Write one row a sample, in order: what was asked and answered, what was read in it, how it counts, and with which
    others it does.

    Args:
        missing: ids of samples without a score.
        counted: of those that the run's results are over.
        verdicts: of a judge, in its words.
    """
    rows, grouped = [], any(sample.groups for sample in samples)
    for number, (sample, answer, score) in enumerate(zip(samples, answers, scores, strict=True)):
        is_missing = sample.id in missing
        counts = {} if is_missing else {str(key): value for key, value in score.counts.items()}
        row = {
            "id": sample.id,
            "image_id": sample.image_id,
            "prompt": sample.messages[-1].content,
            "reference": json.dumps(sample.reference, ensure_ascii=False),
            "answer": answer,
            "missing": is_missing,
            "counted": sample.id in counted,
            "parsed": None if is_missing else score.parsed,
            "parse_failure": not is_missing and score.parse_failure,
            "counts": json.dumps(counts, sort_keys=True),
        }
        if grouped:
            row |= {"groups": json.dumps(groups_of(sample), sort_keys=True), "right": not is_missing and score.right}
        rows.append(row if verdicts is None else {**row, "verdict": verdicts[number]})
    _write(path, rows)


def read_records(run: Path, model: str, benchmark: str) -> list[Record]:
    """In the benchmark's order; none where there is no file. Runs of before counted whatever a model has a score of."""
    import pyarrow.parquet as pq

    file = records_path(run, model, benchmark)
    names = ("id", "image_id", "prompt", "reference", "answer", "missing")
    return [
        Record(
            **{name: row[name] for name in names},
            counted=row.get("counted", not row["missing"]),
            counts=json.loads(row["counts"]),
            groups=json.loads(row.get("groups", "{}")),
            right=row.get("right", False),
        )
        for row in (pq.read_table(file).to_pylist() if file.is_file() else [])
    ]


def write_resamples(run: Path, values: Mapping[tuple[str, Key], np.ndarray]) -> None:
    """Write the values of each model's metrics.

    Args:
        values: float64 [1 + resamples] by model and key.
    """
    rows = [
        {"model": model, "benchmark": key.benchmark, "metric": key.metric, "split": key.part, "values": replicates}
        for (model, key), replicates in values.items()
    ]
    _write(run / RESAMPLES, rows)


def read_resamples(run: Path, model: str) -> dict[Key, np.ndarray]:
    """float64 [1 + resamples] by key; empty where the run kept none."""
    import numpy as np
    import pyarrow.parquet as pq

    if not (run / RESAMPLES).is_file():
        return {}
    rows = pq.read_table(run / RESAMPLES, filters=[("model", "==", model)]).to_pylist()
    return {Key(row["benchmark"], row["metric"], row["split"]): np.asarray(row["values"]) for row in rows}


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    write_atomic(path, buffer.getvalue())
