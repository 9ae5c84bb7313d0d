"""One model of one finished evaluation run, as comparisons read it: results, resamples and per-sample records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.bench.answers import BASE
from mmpref.bench.evaluate import RESAMPLES
from mmpref.errors import InputError
from mmpref.run.manifest import read_manifest
from mmpref.text_files import read_text

if TYPE_CHECKING:
    import numpy as np

Key = tuple[str, str, str]
"""(benchmark, metric, part)."""


@dataclass(frozen=True)
class Record:
    """One kept answer: `mmpref.bench.records` writes them."""

    id: str
    image_id: str
    prompt: str
    reference: str
    answer: str | None
    missing: bool
    counts: Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """Args:
    name: of the run and the model.
    model: ``base`` or ``adapter``.
    found: results by key.
    """

    name: str
    path: Path
    model: str
    found: Mapping[Key, dict[str, Any]]
    manifest: Mapping[str, Any]

    def conditions(self, benchmark: str) -> dict[str, Any]:
        """What must be equal for numbers to be compared, by how a warning words it; none where it was not scored."""
        row = next((row for key, row in self.found.items() if key[0] == benchmark), None)
        if row is None:
            return {}
        return {
            "data differ": row["data"]["fingerprint"],
            "split of the data differs": row["data"]["split"],
            "settings differ": row["settings_hash"],
            "number of samples differs": self.manifest.get("counts", {}).get(benchmark),
        }

    def missing(self, benchmark: str) -> int | None:
        """How many samples are missing; None where the benchmark was not scored."""
        if not self.conditions(benchmark):
            return None
        if records := self.records(benchmark):
            return sum(record.missing for record in records)
        return int(self.manifest.get("missing", {}).get(benchmark, 0))

    def lacks_others_than(self, other: Column, benchmark: str) -> bool:
        """Whether the two lack different samples, so that what they answered does not pair."""
        lacking = [{record.id for record in column.records(benchmark) if record.missing} for column in (self, other)]
        return lacking[0] != lacking[1] or self.missing(benchmark) != other.missing(benchmark)

    def repeats(self, other: Column) -> bool:
        """Whether both are the same base, scored in the same way to the same results."""
        model = self.manifest.get("model")
        known = model is not None and model == other.manifest.get("model")
        return known and self.model == other.model == BASE and self.found == other.found

    def pairs_with(self, other: Column, benchmark: str) -> bool:
        """Whether both answered the same samples under the same conditions, and were resampled alike."""
        if not self.conditions(benchmark) or self.conditions(benchmark) != other.conditions(benchmark):
            return False
        seeds = [column.manifest.get("seeds") for column in (self, other)]
        answered = [
            [(record.id, record.image_id, record.missing) for record in column.records(benchmark)]
            for column in (self, other)
        ]
        return seeds[0] == seeds[1] and bool(answered[0]) and answered[0] == answered[1]

    @cached_property
    def resamples(self) -> Mapping[Key, np.ndarray]:
        """float64 [1 + resamples] by key; empty where the run kept none."""
        import numpy as np
        import pyarrow.parquet as pq

        if not (self.path / RESAMPLES).is_file():
            return {}
        rows = pq.read_table(self.path / RESAMPLES, filters=[("model", "==", self.model)]).to_pylist()
        return {(row["benchmark"], row["metric"], row["split"]): np.asarray(row["values"]) for row in rows}

    @cached_property
    def _records(self) -> dict[str, list[Record]]:
        return {}

    def records(self, benchmark: str) -> Sequence[Record]:
        """The kept answers, in the benchmark's order; none where there is no file."""
        if benchmark not in self._records:
            import pyarrow.parquet as pq

            file = self.path / "samples" / f"{self.model}-{benchmark}.parquet"
            rows = pq.read_table(file).to_pylist() if file.is_file() else []
            self._records[benchmark] = [
                Record(
                    row["id"],
                    row["image_id"],
                    row["prompt"],
                    row["reference"],
                    row["answer"],
                    row["missing"],
                    json.loads(row["counts"]),
                )
                for row in rows
            ]
        return self._records[benchmark]

    def by_image(self, benchmark: str, count: str) -> dict[str, float]:
        """The sum of a count over the samples of each image."""
        sums: dict[str, float] = {}
        for record in self.records(benchmark):
            sums[record.image_id] = sums.get(record.image_id, 0.0) + record.counts.get(count, 0.0)
        return sums


def read_columns(runs: Sequence[Path]) -> list[Column]:
    """The models of finished evaluation runs; a base that several runs scored alike stands once.

    Raises:
        RunError: a directory is no finished run.
        InputError: a run of another command.
    """
    columns: list[Column] = []
    for path in runs:
        manifest = read_manifest(path)
        if manifest["command"] != "evaluate":
            raise InputError(f"{path} is a run of `{manifest['command']}`, not an evaluation.")
        content = json.loads(read_text(path / "results.json"))
        for model in content["models"]:
            found = {
                (row["benchmark"], row["metric"], row["split"]): row
                for row in content["results"]
                if row["model"] == model["name"]
            }
            column = Column(f"{path.name}: {model['name']}", path, model["name"], found, manifest)
            same = next((number for number, other in enumerate(columns) if column.repeats(other)), None)
            if same is None:
                columns.append(column)
            else:
                columns[same] = replace(columns[same], name=f"{path.name}, {columns[same].name}")
    return columns


def reference(columns: Sequence[Column], benchmark: str) -> Column:
    """What a benchmark's other columns are set against: the first one that has it.

    Raises:
        ValueError: none has it.
    """
    for column in columns:
        if any(key[0] == benchmark for key in column.found):
            return column
    raise ValueError(f"No column has {benchmark}.")
