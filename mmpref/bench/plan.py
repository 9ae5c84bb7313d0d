"""From a benchmark's name and settings to questions that are ready to be asked: settings spelled out, data read."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from mmpref.bench.benchmark import BENCHMARKS, Sample, Task
from mmpref.bench.drawn_together import drawn_together, remarks_on_ids
from mmpref.bench.repeats import remarks_on_repeats
from mmpref.bench.yes_no_words import remarks_on_labels
from mmpref.errors import (
    AbsentColumnError,
    HubError,
    InputError,
    MmprefError,
    UsageError,
    is_out_of_memory,
    reason_of,
    row_at,
)
from mmpref.log import errors_only, warn
from mmpref.recipes import schema as recipes
from mmpref.registry import resolve_path
from mmpref.tables.cells import columns_of
from mmpref.tables.columns import FIRST_ROWS, refuse_unread, unread_parts, with_columns
from mmpref.tables.open import open_table
from mmpref.tables.table import Row, Table

_OF_A_QUESTION = {"prompt": "question", "images": "image"}
"""What ``--columns`` calls a part of a preference row -> what benchmarks call it."""


@dataclass(frozen=True)
class Plan:
    """One benchmark, ready to be asked.

    Args:
        label: what its results are called.
        unread: what ``columns`` names and the benchmark does not read.
        remarks: what must be said wherever its results are shown.
        cut: the table has more rows than were asked for.
    """

    name: str
    label: str
    settings: Any
    task: Task
    table: Table
    samples: Sequence[Sample]
    unread: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    cut: bool = False

    def without_images(self) -> Plan:
        """The same for whoever asks no more."""
        samples = [dataclasses.replace(sample, image=None, further_images=()) for sample in self.samples]
        return dataclasses.replace(self, samples=samples)


def resolve_settings(
    benchmarks: Sequence[str],
    settings: Mapping[str, Any],
    split: str | None,
    image_root: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """The settings of each benchmark, spelled out.

    Args:
        settings: by benchmark; what they leave out has its default.
        split: of all of them, instead of their own.
        image_root: of those that name none, nor ``images``.
        columns: of those on one's own ``data`` that name none.

    Raises:
        UsageError: unknown benchmark or setting, or columns of no data.
    """
    for name in sorted(set(settings) - set(BENCHMARKS.names())):
        BENCHMARKS.get(name)
    spelled_out = {}
    for name in benchmarks:
        values = with_places(settings.get(name) or {}, image_root, columns) | ({"split": split} if split else {})
        spelled_out[name] = recipes.as_plain(recipes.build(BENCHMARKS.get(name).settings, values, f"benchmark {name}"))
    if columns and spelled_out and not any(values.get("columns") for values in spelled_out.values()):
        raise UsageError(
            f"--columns says what your own data call the columns of {', '.join(benchmarks)}, and none is on such data.",
            f"Name them with --set benchmark.{benchmarks[0]}.data=FILE.",
        )
    return spelled_out


def with_places(
    values: Mapping[str, Any], image_root: Sequence[str] | None, columns: Mapping[str, str] | None
) -> dict[str, Any]:
    """A benchmark's settings with what a recipe says of all: image roots, unless it has its own or ``images``, and
    columns, unless it has its own or its data are not one's own."""
    places: dict[str, Any] = {}
    if image_root and not values.get("images"):
        places["image_root"] = image_root
    if columns and values.get("data"):
        places["columns"] = columns
    return {**places, **values}


def load_plan(
    name: str, label: str, settings: Mapping[str, Any], limit: int | None, begun: Mapping[str, Any] | None = None
) -> Plan:
    """A benchmark with its data read.

    Args:
        limit: its first samples only.
        begun: facts of the table that a run read before; one of the Hub is read at that commit.

    Raises:
        UsageError: unknown benchmark or setting.
        InputError: data that cannot be read, or have no rows.
    """
    benchmark = BENCHMARKS.get(name)
    built = recipes.build(benchmark.settings, settings, f"benchmark {name}")
    task = benchmark.task(built)
    table = (benchmark.opens(built) if benchmark.opens else None) or _open(
        name, built, benchmark.candidates, begun or {}
    )
    columns = getattr(built, "columns", None) or {}
    table = _located(table, getattr(built, "image_root", None), columns)
    asked, cut = _samples(name, task, table, limit)
    samples = drawn_together(asked)
    if not samples:
        raise InputError(f"The data of benchmark {name} ({table.spec}, split {table.split}) has no rows.")
    _tell_missing(name, table, samples)
    repeated = next((id for id, count in Counter(sample.id for sample in samples).items() if count > 1), None)
    if repeated is not None:
        raise InputError(
            f"{table.spec} ({table.split}) has several rows of the id {repeated!r}.", "Answers are kept by id."
        )
    remarks = (
        *getattr(task, "remarks", ()),
        *remarks_on_labels(task, cut),
        *remarks_on_ids(name, asked),
        *remarks_on_repeats(name, samples),
    )
    for remark in remarks:
        warn(remark)
    return Plan(name, label, built, task, table, samples, _unread(name, built, table, columns), remarks, cut)


def load_plans(
    labels: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]],
    limit: int | None,
    begun: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Plan]:
    """Several benchmarks with their data read.

    Args:
        labels: of each, by name.
        settings: of each, by name.
        limit: their first samples only.
        begun: of each, by name, as of `load_plan`.

    Raises:
        UsageError, InputError: as `load_plan`, or a column that none of them reads.
    """
    several = sum(bool(settings[name].get("columns")) for name in labels) > 1
    plans = []
    for name, label in labels.items():
        try:
            plans.append(load_plan(name, label, settings[name], limit, (begun or {}).get(name)))
        except AbsentColumnError as error:
            if several:
                error.hint = f"{error.hint} {_own_columns_hint(name, settings[name]['columns'], error)}".strip()
            raise
    named = [plan for plan in plans if getattr(plan.settings, "columns", None)]
    columns = {part: column for plan in named for part, column in plan.settings.columns.items()}
    for part in columns:
        having = [plan for plan in named if part in plan.settings.columns]
        refuse_unread([{*plan.unread} for plan in having], {part: columns[part]}, _names_of(having))
    return plans


def _own_columns_hint(name: str, columns: Mapping[str, str], error: AbsentColumnError) -> str:
    """The option that gives a benchmark those of the named columns that its data have."""
    there = {part: column for part, column in columns.items() if column not in error.absent}
    written = yaml.safe_dump(
        there, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    ).strip()
    option = f"--set benchmark.{name}.columns={shlex.quote(written)}"
    return f"--columns holds for all benchmarks on your own data; for {name} alone, in its place: {option}"


def _names_of(plans: Sequence[Plan]) -> str:
    return " and ".join(f"{plan.table.spec}, the data of {plan.name}," for plan in plans).rstrip(",")


class _Readings:
    """How far a task has read its table, whenever it did.

    Args:
        limit: how many rows it is to ask about.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit, self._most = limit, 0
        self._last: Iterator[Row] | None = None

    def of(self, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows, of which it is counted how many are taken."""
        self._last = self._counted(rows)
        return self._last

    def _counted(self, rows: Iterator[Row]) -> Iterator[Row]:
        for count, row in enumerate(rows, 1):
            self._most = max(self._most, count)
            yield row

    def are_cut(self, samples: Sequence[Sample]) -> bool:
        """Whether there are more rows than the limit: one more is read. Of a task with rows of its own the samples
        tell, as far as they do."""
        if self._limit is None or self._last is None:
            return self._limit is not None and len(samples) >= self._limit
        try:
            next(self._last, None)
        except Exception:  # of a row that nobody asked for
            return True
        return self._most > self._limit


def _samples(name: str, task: Task, table: Table, limit: int | None) -> tuple[list[Sample], bool]:
    """The questions of a benchmark, whose reading of rows may be a plugin's; and whether the table has more rows than
    the limit.

    Raises:
        InputError: it fails, whatever it raises.
    """
    last: list[tuple[int, Row]] = []
    read = _Readings(limit)

    def rows() -> Iterator[Row]:
        for number, row in enumerate(table):
            last[:] = [(number, row)]
            yield row
        last.clear()  # it may have been any of them

    try:
        samples = task.samples(dataclasses.replace(table, rows=lambda: read.of(rows())), limit)
        return samples, read.are_cut(samples)
    except MmprefError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        where, why = f"{table.spec} ({table.split})", f"{type(error).__name__}: {reason_of(error).rstrip('.')}"
        if not last:
            raise InputError(f"The benchmark {name} cannot read {where}: {why}.") from error
        [(number, row)] = last
        if isinstance(error, KeyError) and error.args and error.args[0] not in row:
            why = f"it has no column {error.args[0]!r}"
        raise InputError(
            f"The benchmark {name} cannot read {where}, {row_at(number)}: {why}; its columns are {columns_of(row)}."
        ) from error


def _unread(name: str, settings: Any, table: Table, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the named parts that make no difference to what is asked about the first rows."""
    if not columns:
        return ()
    called = {_OF_A_QUESTION.get(part, part): part for part in columns}

    def ask(rows: Sequence[Row]) -> Sequence[Sample]:
        task = BENCHMARKS.get(name).task(settings)
        return _samples(name, task, dataclasses.replace(table, rows=lambda: iter(rows)), None)[0]

    with errors_only():
        unread = unread_parts([*islice(table, FIRST_ROWS)], called, ask)
    return tuple(called[part] for part in unread)


def _located(table: Table, image_root: Sequence[str] | None, columns: Mapping[str, str] | None) -> Table:
    """The table with its images where the user says, and its columns called what the benchmark calls them."""
    if image_root:
        table = dataclasses.replace(table, image_roots=tuple(Path(resolve_path(root)) for root in image_root))
    if not columns:
        return table
    return with_columns(table, {_OF_A_QUESTION.get(part, part): name for part, name in columns.items()})


def _tell_missing(name: str, table: Table, samples: Sequence[Sample]) -> None:
    """Say before a model is loaded of how many questions the images are not there, and which is the first.

    Raises:
        InputError: all of them.
    """
    sighted = [sample.images for sample in samples if sample.images]
    unread = [next((image.name for image in images if not image.content), None) for images in sighted]
    empty = [name for name in unread if name is not None]
    if not empty:
        return
    hint = (
        f"Name the folder of the images: --set {_folder_setting(name)}; of an evaluation's benchmarks all "
        "together, --image-root. (That of train is its dataset's.)"
    )
    if len(empty) == len(sighted):
        raise InputError(
            f"No image of benchmark {name} ({table.spec}, split {table.split}) can be read: {empty[0]}.", hint
        )
    warn(
        f"the images of {len(empty)} of {len(sighted)} questions of {name} cannot be read; they are not asked. First: "
        f"{empty[0]}. {hint}"
    )


def _folder_setting(name: str) -> str:
    """The setting of a benchmark that says where its images are, as it is typed."""
    settings = BENCHMARKS.get(name).settings
    own = any(field.name == "images" for field in dataclasses.fields(settings))
    return f"benchmark.{name}.{'images=FOLDER' if own else 'image_root=[FOLDER]'}"


def refuse_no_data(name: str, settings: Any, candidates: Sequence[str]) -> None:
    """Refuse a benchmark whose data nobody has named.

    Raises:
        UsageError: it is one.
    """
    if settings.data is None and not candidates:
        raise UsageError(
            f"The benchmark {name} has no data on the Hub that mmpref knows.",
            f"Give --set benchmark.{name}.data=PATH (see `mmpref list benchmarks`).",
        )


def _open(name: str, settings: Any, candidates: Sequence[str], begun: Mapping[str, Any]) -> Table:
    """The data that the settings name, or the first of the published repositories that is there; of the Hub those that
    a run began with, at their commit."""
    at = partial(open_table, split=settings.split, config=settings.config, revision=begun.get("revision"))
    if settings.data is not None:
        return at(settings.data)
    refuse_no_data(name, settings, candidates)
    if begun.get("revision") and begun["id"] in candidates:
        return at(begun["id"])
    for candidate in candidates[:-1]:
        with contextlib.suppress(InputError, HubError):
            return at(candidate)
    return at(candidates[-1])
