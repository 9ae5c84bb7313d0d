"""The seam of benchmarks: rows -> samples, answers -> counts, sums of counts -> metrics.

A benchmark is one file in `mmpref/bench/benchmarks` (or in a plugin's package under ``mmpref.benchmarks``) with a
module-level ``BENCHMARK``. Every metric is a function of sums of per-sample counts, so that intervals come from
resampling images (`mmpref.bench.bootstrap`) for all of them alike.

The key of a count is a plain name (``{"right": 1.0, "n": 1.0}``), or a `CountKey` where the benchmark has parts. A
metric looks its sums up by the same keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, cast

from mmpref.errors import UsageError
from mmpref.recipes.names import names
from mmpref.recipes.schema import OPTIONAL
from mmpref.registry import Registry
from mmpref.tables.table import Table
from mmpref.types import ImageData, Message

if TYPE_CHECKING:
    import numpy as np

    Sums = Mapping["CountKey | str", np.ndarray]


PLACE = {"place": True, **names("path")}
"""Metadata of a setting that says where something lies, not how it is asked: numbers can be compared without it."""


def places(settings: Any) -> frozenset[str]:
    """Names of the settings, an instance's or their class's, that are a `PLACE`."""
    return frozenset(one.name for one in fields(settings) if one.metadata.get("place"))


NOTHING = "no sample that it is over was scored."
NONE_READ = "none of the answers was read as one that it is over."
NO_MENTION = (
    "none of the answers names any of the benchmark's objects. Is its table of words (synonyms) that of these data, "
    "and in the language of the answers?"
)
"""Why a metric is over nothing (`Metric.empty`): it has no such samples, or the answers decide that."""


class CountKey(NamedTuple):
    """The key of a count that is of one part of a benchmark; files have it as ``part/name``."""

    part: str
    name: str

    def __str__(self) -> str:
        return f"{self.part}/{self.name}"

    @classmethod
    def read(cls, name: str, parts: Collection[str]) -> CountKey | str:
        """A count's key by its name in files; that of a count of the whole is its name.

        Args:
            parts: of the benchmark. A part's name may hold a slash, and a count's, such as ``both/right`` of groups.
        """
        if "/" not in name:
            return name
        part = max((part for part in parts if name.startswith(f"{part}/")), key=len, default=name.partition("/")[0])
        return cls(part, name.removeprefix(f"{part}/"))


@dataclass(frozen=True)
class BenchmarkSettings:
    """What every benchmark's settings have: where its rows are.

    Args:
        data: a table, file, folder or Hub dataset; by default the benchmark's own on the Hub.
        config: configuration of a Hub dataset.
        split: of the data.
        columns: what the benchmark reads -> what the data call it, such as ``{"question": "text"}``.
        image_root: folders and ``.zip`` files that image paths in the rows are relative to; by default the rows' own.
    """

    data: str | None = field(default=None, metadata=names("table"))
    config: str | None = None
    split: str = "test"
    columns: dict[str, str] | None = field(default=None, metadata=OPTIONAL, kw_only=True)
    image_root: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL | PLACE | names("roots"), kw_only=True)


@dataclass(frozen=True)
class QuestionSettings(BenchmarkSettings):
    """Of a benchmark that asks about images.

    Args:
        max_new_tokens: of an answer.
        images: folder of the images that rows name, as ``image_root`` is.
    """

    max_new_tokens: int = 128
    images: str | None = field(default=None, metadata=PLACE)


@dataclass(frozen=True)
class Sample:
    """One question to the model.

    Args:
        id: of the sample.
        image_id: samples of one image are resampled together. It is the rows' own word; samples of the same images
            get one (`mmpref.bench.drawn_together`).
        image: encoded; None where the question is asked without one.
        messages: the prompt, as published.
        reference: what the scorer needs to know.
        groups: kind of group -> which one; samples of one group are right together or not (`mmpref.bench.parts`).
            A group's samples must share their image_id.
        further_images: of a question about several, behind the first.
    """

    id: str
    image_id: str
    image: ImageData | None
    messages: tuple[Message, ...]
    reference: Any
    groups: Mapping[CountKey, str] | Mapping[str, str] = field(default_factory=dict)
    further_images: tuple[ImageData, ...] = ()

    @property
    def images(self) -> tuple[ImageData, ...]:
        """All that the question is about, as the model is shown them; none of a question about text alone."""
        return self.further_images if self.image is None else (self.image, *self.further_images)

    @property
    def name(self) -> str:
        """What messages call the sample: where its image is, or its id."""
        return self.images[0].name if self.images else f"question {self.id}"


@dataclass(frozen=True)
class Score:
    """One scored answer.

    Args:
        parsed: what the scorer read in the answer, as text.
        counts: sufficient statistics, added up over samples.
        parse_failure: the answer could not be read as the benchmark wants it (it is scored all the same).
        unread: metrics that read answers in their own way, and whether that failed.
        right: for the sample's groups.
        unjudged: why a judge that the benchmark asks by itself gave no verdict; the sample is missing then, and its
            counts only say what it would have been over.
    """

    parsed: str
    counts: Mapping[CountKey | str, float] | Mapping[str, float]
    parse_failure: bool = False
    right: bool = False
    unjudged: str = ""
    unread: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """One number of a benchmark.

    Args:
        name: such as ``accuracy``.
        part: of the benchmark, such as ``adversarial``; ``all`` for the whole.
        value: from arrays of sums [...] by key to values [...].
        n: key of the count that says over how many.
        higher_is_better: None where neither is.
        of: the two counts whose sums' quotient it is, where it is one.
        binary: each sample counts 0 or 1 in the first (or 1/2, a tie) and 1 in the second: it is tested by McNemar's
            test.
        headline: claims are made on it, so that it takes part in the correction for several benchmarks.
        empty: why there may be nothing that it is over, as a sentence: it is undefined then (NaN).
        grouped: it is of samples that count together (`mmpref.bench.parts`).
    """

    name: str
    part: str
    value: Callable[[Sums], np.ndarray]
    n: CountKey | str
    higher_is_better: bool | None = True
    of: tuple[CountKey | str, CountKey | str] | None = None
    binary: bool = False
    headline: bool = False
    empty: str = NOTHING
    grouped: bool = False


def rate(
    name: str,
    part: str,
    top: CountKey | str,
    bottom: CountKey | str,
    higher_is_better: bool | None = True,
    *,
    scale: float = 1.0,
    binary: bool = False,
    headline: bool = False,
    empty: str = NOTHING,
) -> Metric:
    """The metric ``scale x sum of top / sum of bottom``; undefined where the second is 0."""

    def value(sums: Sums) -> np.ndarray:
        return scale * ratio(sums[top], sums[bottom])

    return Metric(name, part, value, bottom, higher_is_better, (top, bottom), binary, headline, empty)


class Task(Protocol):
    """A benchmark with its settings applied."""

    @property
    def max_new_tokens(self) -> int:
        """Of an answer."""
        ...

    def samples(self, table: Table, limit: int | None) -> list[Sample]:
        """Questions in the table's order."""
        ...

    def score(self, sample: Sample, answer: str) -> Score: ...

    def metrics(self, scores: Sequence[Score]) -> list[Metric]: ...


S = TypeVar("S", bound=QuestionSettings)


class QuestionTask(Generic[S]):
    """What tasks with `QuestionSettings` begin with. ``remarks``, known once there are samples, are shown wherever
    results are."""

    def __init__(self, settings: S) -> None:
        self.settings = settings
        self.max_new_tokens = settings.max_new_tokens
        self.remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Args:
        settings: a frozen dataclass, such as one that inherits from `BenchmarkSettings`, with at least ``data`` (table,
            path or Hub id), ``split`` and ``config``; the recipe's ``benchmark:`` block.
        candidates: Hub ids to try in order where ``data`` is not given; where there are none, it must be.
        task: from settings to the task.
        judged: the task is a `mmpref.bench.judging.JudgedTask` and needs a judge.
        rewards: it asks a reward model for the values of two answers (`mmpref.bench.reward_answerer`).
        opens: reads ``data`` of a layout that is the authors' own; None where they have the usual one.
        hallucination: it measures what answers say that the image does not show.
        official_files: setting that names a file -> SHA-256 of the authors' own. Without a default of its own such a
            setting is the published one only where its file is this.
        brings_data: ``opens`` has rows of its own, so that no ``data`` need be named.
        unit: what samples of one ``image_id`` are about, in the plural: what is counted where images are resampled.
        foreign: its metrics are code of others, which only an evaluation runs: comparisons know what it recorded.
        decided_by: of settings, what else its scores depend on, such as a judge that its code asks by itself: results
            say it, and those with another one are not compared.
    """

    settings: type[Any]
    candidates: tuple[str, ...]
    task: Callable[[Any], Task]
    judged: bool = False
    rewards: bool = False
    opens: Callable[[Any], Table | None] | None = None
    hallucination: bool = False
    official_files: Mapping[str, str] = field(default_factory=dict)
    brings_data: bool = False
    unit: str = "images"
    foreign: bool = False
    decided_by: Callable[[Any], Mapping[str, Any]] = lambda _: {}


class Benchmarks(Registry[Benchmark]):
    """Benchmarks, and families of them: ``FAMILY:MEMBER`` is what ``member(MEMBER)`` of the family's module makes."""

    def get(self, name: str) -> Benchmark:
        """The benchmark of that name; results call a member ``FAMILY.MEMBER``, which is understood too.

        Raises:
            UsageError: there is none.
        """
        family, separator, one = re.match(r"([^:.]*)([:.]?)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
        if not separator:
            return super().get(name)
        member = getattr(self.module(family), "member", None)
        if member is None or not one:
            raise UsageError(f"There is no benchmark {name!r}.", f"{family} has no members." if one else "")
        return cast(Benchmark, member(one))


BENCHMARKS = Benchmarks("benchmark", "mmpref.benchmarks", "BENCHMARK")


def ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float = math.nan) -> np.ndarray:
    """Element-wise quotient.

    Args:
        empty: what it is where the denominator is 0; NaN, undefined, unless the official scorer says otherwise.
    """
    import numpy as np

    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(top, bottom, out=np.full(top.shape, empty), where=bottom != 0)
