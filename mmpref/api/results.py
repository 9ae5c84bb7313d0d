"""What the functions give back: the run's folder, its manifest, and a table that shows itself in a notebook too."""

from __future__ import annotations

import dataclasses
import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmpref.api.progress import library_bars
from mmpref.api.table_repr import TableRepr
from mmpref.api.wording import python_remarks
from mmpref.errors import RunError, UsageError
from mmpref.hub.published import Published
from mmpref.log import counted
from mmpref.registry import suggest
from mmpref.run import verdict
from mmpref.run.asked import Asked
from mmpref.run.manifest import product_of
from mmpref.run.results import TITLE, Results, Value
from mmpref.run.results_text import html_table, plain_table
from mmpref.run.rounds import Round, begun_value, reported_on
from mmpref.run.rounds import table as rounds_table
from mmpref.run.rounds import title as rounds_title
from mmpref.run.sample_sizes import intervals_over

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from mmpref.bench.compare import Comparison

Cells = Sequence[tuple[str, str]]
"""Lines of a table with two columns: what, and how much of it."""


@dataclass(frozen=True, repr=False)
class Result(TableRepr, os.PathLike[str]):
    """A finished run. It stands for its folder wherever a function takes one.

    Args:
        path: the run's folder; in a process of several that is not the first, only where it was given.
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
        from mmpref.data.summary import summary_rows

        if self.waiting:
            return [("blocks that other shards work on", str(self.waiting))]
        return summary_rows(self.manifest)

    def files(self, split: str | None = None) -> list[Path]:
        """The Parquet files of a split, or of all."""
        names = [entry["path"] for entry in self.manifest.get("data", [])]
        return [self.path / name for name in names if split is None or Path(name).name.startswith(f"{split}-")]

    def splits(self) -> list[str]:
        """Names of the splits.

        Raises:
            RunError: other shards are still at work, and there are no rows yet.
        """
        if self.waiting:
            raise RunError(
                f"{self.path} has no rows yet: other shards have {counted(self.waiting, 'block')} to do.", "Wait."
            )
        return list(self.manifest.get("splits") or [self.manifest["recipe"]["split"]])

    def to_datasets(self) -> datasets.DatasetDict:
        """The rows by split, as ``datasets`` loads them: ``images``, ``prompt``, ``chosen``, ``rejected`` and where
        each pair comes from."""
        import datasets

        files = {split: [str(file) for file in self.files(split)] for split in self.splits()}
        with library_bars():
            loaded = datasets.load_dataset("parquet", data_files=files)
        assert isinstance(loaded, datasets.DatasetDict)
        return loaded

    def load(self, split: str | None = None) -> datasets.Dataset:
        """The rows of a split, by default the first.

        Raises:
            UsageError: no such split.
        """
        self._refuse_split(split)
        return self.to_datasets()[split or self.splits()[0]]

    def to_pandas(self, split: str | None = None) -> pd.DataFrame:
        """The pairs, a row each; image cells are ``{"bytes", "path"}``.

        Args:
            split: by default all.

        Raises:
            UsageError: no such split.
        """
        import pandas as pd
        import pyarrow.parquet as pq

        self._refuse_split(split)
        return pd.concat([pq.read_table(file).to_pandas() for file in self.files(split)], ignore_index=True)

    def _refuse_split(self, split: str | None) -> None:
        if split not in (None, *(known := self.splits())):
            raise UsageError(f"{self.path} has no split {split!r}.", suggest(str(split), known))


@dataclass(frozen=True, repr=False)
class TrainedAdapter(Result):
    """An adapter that plain PEFT loads, in the run's folder; of weights that were trained in full, a model.

    Args:
        log: a row for each logged step: loss, rewards, margins, log-probabilities in nats, lengths in tokens.
    """

    log: Sequence[Mapping[str, Any]] = field(default=(), hash=False)

    @property
    def title(self) -> str:  # type: ignore[override]
        return product_of(self.manifest) if self.manifest else "adapter"

    def lines(self) -> Cells:
        from mmpref.align.summary import summary_rows

        return summary_rows(self.manifest) if self.manifest else []

    def to_pandas(self) -> pd.DataFrame:
        """The log, a row for each logged step."""
        import pandas as pd

        return pd.DataFrame(self.log)


@dataclass(frozen=True, repr=False)
class Evaluation(Result):
    """Benchmarks of a model and, with an adapter, of both.

    Args:
        results: a value with its interval for each metric of each model, and the paired differences.
    """

    results: Results = field(default_factory=lambda: Results({}, ()), hash=False)

    title = TITLE

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        return self.results.table()

    def remarks(self) -> Sequence[str]:
        kept = python_remarks(self.manifest.get("remarks", []))
        return [*filter(None, [intervals_over(self.results.values)]), *kept]

    def __repr__(self) -> str:
        lines = verdict.lines_of(self.results)
        summary = [verdict.title(lines), plain_table(*verdict.table(lines)), *verdict.remarks(lines)]
        return "\n".join([*summary, "", super().__repr__()])

    def _repr_html_(self) -> str:
        lines = verdict.lines_of(self.results)
        also = "".join(f"\n<p>{html.escape(remark)}</p>" for remark in verdict.remarks(lines))
        summary = f"<b>{verdict.title(lines)}</b>\n{html_table(*verdict.table(lines))}{also}"
        return f"{summary}\n<details><summary>All metrics</summary>\n{super()._repr_html_()}\n</details>"

    def to_pandas(self, what: Literal["values", "differences"] = "values") -> pd.DataFrame:
        """A row for each value, or for each paired difference."""
        return self.results.to_pandas(what)


@dataclass(frozen=True, repr=False)
class Iterated(Result):
    """Rounds of build -> train -> evaluate.

    Args:
        test: what the adapter that is kept has on data that chose nothing; None where no round is kept.
    """

    test: Results | None = field(default=None, hash=False)

    @property
    def rounds(self) -> Sequence[Round]:
        return [Round.from_dict(row) for row in self.manifest["rounds"]]

    @property
    def kept(self) -> int:
        """The round that is kept; 0, the base, where none is."""
        return int(self.manifest["kept"])

    @property
    def adapter(self) -> Path | None:
        """The folder of the adapter that is kept."""
        return self.path / f"round-{self.kept}" / "train" if self.kept else None

    @property
    def title(self) -> str:  # type: ignore[override]
        base = Value.from_dict(self.manifest["base"])
        return rounds_title(self.manifest["metric"], base, Asked.from_dict(self.manifest["chosen_on"]).which)

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        return rounds_table(Value.from_dict(self.manifest["base"]), self.rounds, begun_value(self.manifest))

    def remarks(self) -> Sequence[str]:
        facts, chosen = self.manifest, Asked.from_dict(self.manifest["chosen_on"]).which
        before = f"{facts['begun']['adapter']['id']}, which the chain began with" if "begun" in facts else "the base"
        kept = f"Round {self.kept} is kept: {self.adapter}." if self.kept else f"No round is kept: none beat {before}."
        if self.kept and "begun" in facts:
            kept += f" Round 0 is {before}."
        data = f" What is reported is of {reported}." if (reported := reported_on(facts)) else ""
        return [kept, f"{facts['rule']} It ended: {facts['stopped']}.", f"Chosen on {chosen}.{data}"]


@dataclass(frozen=True, repr=False)
class Compared(TableRepr):
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
            [key.name, *("" if value is None else value.text() for value in values)]
            for key, values in self.comparison.rows
        ]
        return ["metric", *self.comparison.models], rows

    def remarks(self) -> Sequence[str]:
        return [f"Warning: {warning}" for warning in self.warnings]

    def to_pandas(self) -> pd.DataFrame:
        """A row for each metric of each column: value, interval, and its test against the first column; ``is_form``
        where that test says nothing of what answers say, since most of those of one model could not be read."""
        import pandas as pd

        rows = [
            {
                **key._asdict(),
                "model": model,
                **{name: getattr(value, name) for name in ("value", "low", "high")},
                **{name: getattr(test, attribute, None) for name, attribute in _TESTED.items()},
            }
            for (key, values), tests in zip(self.comparison.rows, self.comparison.tests, strict=True)
            for model, value, test in zip(self.comparison.models, values, tests, strict=True)
            if value is not None
        ]
        return pd.DataFrame(rows)


_TESTED = {
    "difference": "value",
    "difference_low": "low",
    "difference_high": "high",
    "p": "p",
    "p_holm": "p_holm",
    "test": "test",
    "pairs": "pairs",
    "lost": "lost",
    "is_form": "is_form",
}
"""Columns of a comparison's frame, and what of a `Difference` they hold."""


@dataclass(frozen=True, repr=False)
class Inspection(TableRepr):
    """What is in a preference dataset, and what is wrong with it.

    Args:
        report: rows, problems and notes by kind with row and column, words, length bias, near duplicates, ...
    """

    report: Mapping[str, Any] = field(hash=False)

    @property
    def title(self) -> str:  # type: ignore[override]
        dataset = self.report["dataset"]
        return f"{dataset['id']} ({dataset['split']})"

    @property
    def problems(self) -> Mapping[str, Any]:
        """Why training leaves rows out. By kind: how many rows, and the first of them."""
        problems: Mapping[str, Any] = self.report["problems"]
        return problems

    @property
    def notes(self) -> Mapping[str, Any]:
        """What is worth knowing of rows, and no reason to leave them out, such as duplicates; as `problems`."""
        notes: Mapping[str, Any] = self.report["notes"]
        return notes

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        from mmpref.api.inspection_lines import lines

        return ("", ""), list(lines(self.report))


@dataclass(frozen=True, repr=False)
class Publication(TableRepr, Published):
    """Where a run was published, as a table."""

    title = "published"

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        facts = dataclasses.asdict(self)
        return ("", ""), [(name.replace("_", " "), str(value)) for name, value in facts.items() if value is not None]


@dataclass(frozen=True, repr=False)
class Staged(TableRepr):
    """What would be published of a run.

    Args:
        folder: where it is.
        repo_id: of the repository that its card speaks of.
        size: bytes of all files.
    """

    folder: str
    repo_id: str
    files: int
    size: int

    title = "written"

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        return ("", ""), [
            ("folder", self.folder),
            ("as", self.repo_id),
            ("files", str(self.files)),
            ("size", f"{self.size / 1e6:.1f} MB"),
        ]


def run_path(command: str, what: str, manifest: Mapping[str, Any], output: str | os.PathLike[str] | None) -> Path:
    """Where a run went, given or by default (`mmpref.run.directory.default_path`)."""
    if output:
        return Path(output).expanduser()
    return Path("runs") / f"{command}-{what}-{manifest.get('recipe_hash', '')[:8]}"
