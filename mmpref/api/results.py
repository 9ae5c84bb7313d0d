"""What the functions give back: the run's folder, its manifest, and a table that shows itself in a notebook too."""

from __future__ import annotations

import dataclasses
import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from mmpref.bench.compare import Comparison

Cells = Sequence[tuple[str, str]]
"""Lines of a table with two columns: what, and how much of it."""


class Shown:
    """What shows itself as a table: text by ``repr``, HTML in a notebook, a frame by ``to_pandas()``."""

    title = ""

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Columns (no names where there is nothing to name) and rows of text."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """The table as a frame."""
        import pandas as pd

        columns, rows = self.table()
        return pd.DataFrame([list(row) for row in rows], columns=list(columns) if any(columns) else ["what", "value"])

    def __repr__(self) -> str:
        columns, rows = self.table()
        lines = [*([columns] if any(columns) else []), *rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
        cells = (
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )
        return "\n".join([self.title, *cells])

    def _repr_html_(self) -> str:
        columns, rows = self.table()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns) if any(columns) else ""
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
        return (
            f"<table>\n<caption>{html.escape(self.title)}</caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
        )


@dataclass(frozen=True, repr=False)
class Result(Shown, os.PathLike[str]):
    """A finished run. It stands for its folder wherever a function takes one.

    Args:
        path: the run's folder.
        manifest: what its ``run.json`` says; nothing in a process of several that is not the first.
    """

    path: Path
    manifest: Mapping[str, Any] = field(hash=False)

    title = "run"

    def __fspath__(self) -> str:
        return str(self.path)

    def lines(self) -> Cells:
        """The table's lines."""
        return []

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        return ("", ""), [*((name, str(value)) for name, value in self.lines()), ("written to", str(self.path))]


@dataclass(frozen=True, repr=False)
class BuiltDataset(Result):
    """A preference dataset.

    Args:
        report: what its ``report.json`` says: counts, lengths, similarities, skipped rows by reason.
    """

    report: Mapping[str, Any] = field(default_factory=dict, hash=False)

    title = "preference dataset"

    @property
    def waiting(self) -> int:
        """How many blocks are with other shards still; until it is 0 there are no rows."""
        return int(self.manifest.get("waiting", 0))

    def lines(self) -> Cells:
        from mmpref.data.finalize import summary

        if self.waiting or not self.manifest:
            return [("blocks that other shards work on", str(self.waiting))]
        return summary(self.manifest)

    def files(self, split: str | None = None) -> list[Path]:
        """The Parquet files of a split, or of all."""
        names = [entry["path"] for entry in self.manifest.get("data", [])]
        return [self.path / name for name in names if split is None or Path(name).name.startswith(f"{split}-")]

    def splits(self) -> list[str]:
        """Names of the splits."""
        return list(self.manifest.get("splits") or [self.manifest["recipe"]["split"]])

    def to_datasets(self) -> datasets.DatasetDict:
        """The rows by split, as ``datasets`` loads them: ``images``, ``prompt``, ``chosen``, ``rejected`` and where
        each pair comes from."""
        import datasets

        files = {split: [str(file) for file in self.files(split)] for split in self.splits()}
        loaded = datasets.load_dataset("parquet", data_files=files)
        assert isinstance(loaded, datasets.DatasetDict)
        return loaded

    def load(self, split: str | None = None) -> datasets.Dataset:
        """The rows of a split, by default the first."""
        return self.to_datasets()[split or self.splits()[0]]

    def to_pandas(self, split: str | None = None) -> pd.DataFrame:
        """The pairs, a row each; image cells are ``{"bytes", "path"}``.

        Args:
            split: by default all.
        """
        import pandas as pd
        import pyarrow.parquet as pq

        return pd.concat([pq.read_table(file).to_pandas() for file in self.files(split)], ignore_index=True)


@dataclass(frozen=True, repr=False)
class TrainedAdapter(Result):
    """An adapter that plain PEFT loads, in the run's folder.

    Args:
        log: a row for each logged step: loss, rewards, margins, log-probabilities in nats, lengths in tokens.
    """

    log: Sequence[Mapping[str, Any]] = field(default=(), hash=False)

    title = "adapter"

    def lines(self) -> Cells:
        from mmpref.align.summary import summary

        return summary(self.manifest) if self.manifest else []

    def to_pandas(self) -> pd.DataFrame:
        """The log, a row for each logged step."""
        import pandas as pd

        return pd.DataFrame(self.log)


@dataclass(frozen=True, repr=False)
class Evaluation(Result):
    """Benchmarks of a model and, with an adapter, of both. ``manifest`` holds what ``results.json`` says too."""

    title = "evaluation: value [95 % interval]"

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """A row for each metric of each model: value, 95 % interval, number of samples and images."""
        return list(self.manifest.get("results", []))

    @property
    def differences(self) -> Sequence[Mapping[str, Any]]:
        """A row for each metric: adapter minus base, with interval and p-value; none without an adapter."""
        return list(self.manifest.get("differences", []))

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        lines: dict[tuple[str, ...], dict[str, str]] = {}
        for row in self.results:
            lines.setdefault(_key(row), {})[row["model"]] = _interval(row)
        for row in self.differences:
            lines[_key(row)]["difference"] = _interval(row, signed=True)
        names = list(dict.fromkeys(name for cells in lines.values() for name in cells))
        rows = [
            [" ".join(key).removesuffix(" all"), *(cells.get(name, "") for name in names)]
            for key, cells in lines.items()
        ]
        return ["metric", *names], rows

    def to_pandas(self) -> pd.DataFrame:
        """A row for each metric of each model."""
        import pandas as pd

        return pd.DataFrame(self.results)


@dataclass(frozen=True, repr=False)
class Compared(Shown):
    """Evaluation runs side by side.

    Args:
        comparison: columns, values, tests and what is missing.
    """

    comparison: Comparison

    title = "value [95 % interval]"

    @property
    def warnings(self) -> Sequence[str]:
        """Why numbers in one row may not be comparable."""
        return self.comparison.warnings

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        rows = [
            [" ".join(key).removesuffix(" all"), *("" if cell is None else _interval(cell) for cell in cells)]
            for key, cells in self.comparison.rows
        ]
        return ["metric", *self.comparison.models], rows

    def to_pandas(self) -> pd.DataFrame:
        """A row for each metric of each column: value, interval, and its test against the first column."""
        import pandas as pd

        rows = [
            {
                **dict(zip(("benchmark", "metric", "part"), key, strict=True)),
                "model": model,
                **{name: cell[name] for name in ("value", "low", "high")},
                **({f"difference_{name}": value for name, value in dataclasses.asdict(test).items()} if test else {}),
            }
            for (key, cells), tests in zip(self.comparison.rows, self.comparison.tests, strict=True)
            for model, cell, test in zip(self.comparison.models, cells, tests, strict=True)
            if cell is not None
        ]
        return pd.DataFrame(rows)


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """What is in a preference dataset, and what is wrong with it.

    Args:
        report: rows, problems by kind with row and column, words, length bias, similarity, near duplicates, ...
    """

    report: Mapping[str, Any] = field(hash=False)

    @property
    def title(self) -> str:  # type: ignore[override]
        dataset = self.report["dataset"]
        return f"{dataset['id']} ({dataset['split']})"

    @property
    def problems(self) -> Mapping[str, Any]:
        """By kind: how many rows, and the first of them."""
        problems: Mapping[str, Any] = self.report["problems"]
        return problems

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        from mmpref.api.inspection_lines import lines

        return ("", ""), list(lines(self.report))


@dataclass(frozen=True, repr=False)
class Publication(Shown):
    """What is on the Hub.

    Args:
        url: of the repository.
        commit: on ``main``, or on the pull request's branch.
        tag: None where none was set.
        changed: False where the same was there before.
    """

    url: str
    commit: str
    tag: str | None
    pull_request_url: str | None
    changed: bool
    repo_id: str
    repo_type: str

    title = "published"

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        facts = dataclasses.asdict(self)
        return ("", ""), [(name.replace("_", " "), str(value)) for name, value in facts.items() if value is not None]


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["benchmark"], row["metric"], row["split"]


def _interval(row: Mapping[str, Any], signed: bool = False) -> str:
    form = "{:+.3f} [{:+.3f}, {:+.3f}]" if signed else "{:.3f} [{:.3f}, {:.3f}]"
    return form.format(row["value"], row["low"], row["high"])


def run_path(command: str, what: str, manifest: Mapping[str, Any], output: str | os.PathLike[str] | None) -> Path:
    """Where a run went, given or by default (`mmpref.run.directory.default_path`)."""
    return Path(output) if output else Path("runs") / f"{command}-{what}-{manifest.get('recipe_hash', '')[:8]}"
