"""Per-sample records of an evaluation: what was asked and answered, what was read in it, and how it counts."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from mmpref.bench.benchmark import Sample, Score
from mmpref.run.files import write_atomic


def write_records(
    path: Path,
    samples: Sequence[Sample],
    answers: Sequence[str | None],
    scores: Sequence[Score],
    missing: Set[str],
    verdicts: Sequence[str | None] | None = None,
) -> None:
    """Write one row a sample, in order.

    Args:
        missing: ids of samples that do not count.
        verdicts: of a judge, in its words.
    """
    rows = []
    for number, (sample, answer, score) in enumerate(zip(samples, answers, scores, strict=True)):
        lost = sample.id in missing
        row = {
            "id": sample.id,
            "image_id": sample.image_id,
            "prompt": sample.messages[-1].content,
            "reference": json.dumps(sample.reference, ensure_ascii=False),
            "answer": answer,
            "missing": lost,
            "parsed": None if lost else score.parsed,
            "parse_failure": not lost and score.parse_failure,
            "counts": json.dumps({} if lost else {str(key): n for key, n in score.counts.items()}, sort_keys=True),
        }
        rows.append(row if verdicts is None else {**row, "verdict": verdicts[number]})
    write_rows(path, rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as one Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    write_atomic(path, buffer.getvalue())
