"""``results.json``, typed: its one reader and its one writer.

`Results` holds a `Value` for each metric of each model and a `Difference` for each metric of a pair; both are found by
their `Key`. `JudgeNoise` is how much a judge's repeats differ. What older versions did not write is filled in.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from mmpref.errors import RunError, UsageError
from mmpref.registry import suggest
from mmpref.run.asked import Asked
from mmpref.run.files import write_atomic
from mmpref.run.result_rows import typed_row
from mmpref.run.results_text import (
    FORM,
    MOST_UNREAD,
    decimals,
    direction_of,
    html_table,
    interval_text,
    p_value_text,
    plain_table,
    stars,
    too_few_pairs,
    verdict_of,
)
from mmpref.text_files import NOT_JSON, read_text
from mmpref.types import ModelRef

if TYPE_CHECKING:
    import pandas as pd

RESULTS = "results.json"
RESAMPLES = "resamples.parquet"
"""Every metric of every model in the data and in each resample of images, for paired comparisons with other runs."""
BASE, ADAPTER = "base", "adapter"
"""The models of a run, in results, tables and files."""
ALL = "all"
"""The part that is the whole benchmark."""
JUDGED_BY = "@"
"""What stands between the name of a judged metric and its judge: ``score@MODEL/PROMPT/tTEMPERATURE/ORDER``."""
LEVEL = 0.95
"""Of every interval."""
TITLE = "evaluation: value [95 % interval]"


class Key(NamedTuple):
    """What a number is of; ``part`` is called ``split`` in the file."""

    benchmark: str
    metric: str
    part: str

    @classmethod
    def of(cls, text: str) -> Key:
        """Of ``benchmark metric`` or ``benchmark metric part``.

        Raises:
            UsageError: it is one word.
        """
        benchmark, metric, part = [*text.split(maxsplit=2), ALL, ALL][:3]
        if len(text.split()) < 2:
            raise UsageError(f"{text!r} is no metric.", "Write 'benchmark metric', such as chair recall.")
        return cls(benchmark, metric, part)

    @property
    def name(self) -> str:
        """In one cell."""
        return " ".join(self).removesuffix(f" {ALL}")

    @property
    def judge(self) -> str:
        """Who judged, by which prompt and how; empty of a metric without a judge."""
        return self.metric.partition(JUDGED_BY)[2]

    @property
    def unjudged(self) -> Key:
        """The same without its judge, as people and plans ask for it."""
        return self._replace(metric=self.metric.partition(JUDGED_BY)[0])


class _Estimate:
    """A number with its interval: what values and differences have in common."""

    benchmark: str
    part: str
    metric: str
    value: float
    low: float
    high: float

    @property
    def key(self) -> Key:
        return Key(self.benchmark, self.metric, self.part)

    def text(self, *, signed: bool = False, digits: int | None = None) -> str:
        """``value [low, high]``; by default with the `decimals` of the value."""
        digits = decimals(self.value) if digits is None else digits
        return interval_text(self.value, self.low, self.high, signed=signed, digits=digits)

    @property
    def is_defined(self) -> bool:
        """Whether there is a value: there is none of a rate over nothing."""
        return not math.isnan(self.value)

    @property
    def number(self) -> str:
        """The value alone, with its `decimals`."""
        return interval_text(self.value, None, None, digits=decimals(self.value))

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file: a number that is undefined is null, as JSON has no NaN."""
        row = dataclasses.asdict(self)  # type: ignore[call-overload]
        row |= {name: None for name, number in row.items() if isinstance(number, float) and math.isnan(number)}
        return {"split" if name == "part" else name: value for name, value in row.items()}


@dataclass(frozen=True)
class JudgeNoise:
    """A metric over the repeats of a judge: its standard deviation and its extremes."""

    repeats: int
    deviation: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Value(_Estimate):
    """A metric of one model. The fields stand in the order of the file.

    Args:
        part: of the benchmark; ``all`` for the whole.
        low, high: the 95 % interval. Any of the three numbers is NaN where it is undefined.
        n: what the metric is over, by its own count; ``images``: how many images these lie on. With an adapter these
            are of both models' pairs (`mmpref.bench.paired`), and so is the value.
        answers: how many answers it counts; 0 where a run did not record it.
        parse_failures, missing: how many of these could not be read, and how many samples do not count.
        higher_is_better: None where neither is.
        headline: claims are made on it.
        of: names of the two counts whose sums' quotient it is, where it is one.
        binary: it is tested by McNemar's test.
        blind: how the images were taken away, of a control.
        settings_hash: of the benchmark's settings: equal where numbers may be compared.
        data: facts of the table: id, split, revision, fingerprint, licence.
        unit: what ``images`` are, in the plural, where it is something else.
    """

    model: str
    benchmark: str
    part: str
    metric: str
    value: float
    low: float
    high: float
    n: int = 0
    images: int = 0
    answers: int = 0
    parse_failures: int = 0
    missing: int = 0
    higher_is_better: bool | None = None
    headline: bool = False
    of: tuple[str, str] | None = None
    binary: bool = False
    blind: str | None = None
    judge_noise: JudgeNoise | None = None
    settings_hash: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "images"

    @property
    def is_form(self) -> bool:
        """Whether most of its answers could not be read: it measures their form then, not what they say."""
        return self.unread_share > MOST_UNREAD

    @property
    def unread_share(self) -> float:
        """Of its answers, those that could not be read; 0 where a run did not record how many there are."""
        return self.parse_failures / self.answers if self.answers else 0.0

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Value:
        of, noise = row.get("of"), row.get("judge_noise")
        return typed_row(cls, {**row, "of": of and tuple(of), "judge_noise": noise and JudgeNoise(**noise)})

    def as_dict(self) -> dict[str, Any]:
        row = {**super().as_dict(), "of": list(self.of) if self.of else None}
        kept = {
            "answers": self.answers > 0,
            "judge_noise": self.judge_noise is not None,
            "unit": self.unit != "images",
        }
        return {name: value for name, value in row.items() if kept.get(name, True)}


@dataclass(frozen=True, kw_only=True)
class Difference(_Estimate):
    """What a second model changed of a metric, paired by image. The fields stand in the order of the file.

    Args:
        p, test: of no difference, by ``McNemar`` or ``bootstrap``.
        p_holm: corrected for all headline metrics of the run; None where no claim is made on the metric.
        first, second: what the two models have on the pairs, NaN where it is undefined; images: how many these lie on.
        pairs, lost: of the benchmark's samples, how many both models have a score of, and how many others a model
            replied to; of a metric of groups, less those whose group lacks one. Runs of before did not record the five.
        is_form: most answers of one of the two could not be read (`Value.is_form`), unless that makes the second worse.
    """

    benchmark: str
    part: str
    metric: str
    value: float
    low: float
    high: float
    higher_is_better: bool | None = None
    headline: bool = False
    p: float | None = None
    test: str | None = None
    p_holm: float | None = None
    first: float = math.nan
    second: float = math.nan
    images: int = 0
    pairs: int = 0
    lost: int = 0
    is_form: bool = False

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Difference:
        return typed_row(cls, row)

    @property
    def tells(self) -> bool:
        """Whether anything can be claimed: not of too few pairs (`too_few_pairs`), nor of the form of answers."""
        return not (self.is_form or too_few_pairs(self.pairs, self.lost))

    @property
    def p_text(self) -> str:
        """The p-value as a cell: of a headline metric the corrected one, with its stars."""
        return p_value_text(self.p, self.p_holm)

    @property
    def direction(self) -> str:
        """Where the interval lies off 0, as `direction_of` has it; empty where nothing can be claimed."""
        return direction_of(self.low, self.high, self.higher_is_better) if self.tells else ""

    @property
    def mark(self) -> str:
        """The `verdict` where the interval excludes 0, with the stars of the corrected p-value."""
        return self.verdict + stars(self.p_holm) if self.direction else ""

    @property
    def verdict(self) -> str:
        """What can be claimed, as `verdict_of` has it; `FORM` of what measures that."""
        p = self.p if self.p_holm is None else self.p_holm
        said = verdict_of(self.low, self.high, self.higher_is_better, p, too_few=not self.tells)
        return FORM if self.is_form else said


T = TypeVar("T", Value, Difference)


@dataclass(frozen=True, repr=False)
class Results:
    """The results of an evaluation run. In a notebook it shows itself as a table.

    Args:
        models: what was evaluated, by ``base`` and ``adapter``.
        differences: adapter minus base; none where there is no adapter.
        adapter: facts of the adapter.
        reasoning: benchmark -> model -> how many replies had a block of reasoning, and how many came to no answer.
        asked: benchmark, as results call it -> what was asked. Runs of before did not record it.
    """

    models: Mapping[str, ModelRef]
    values: tuple[Value, ...]
    differences: tuple[Difference, ...] = ()
    adapter: Mapping[str, Any] | None = None
    reasoning: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    asked: Mapping[str, Asked] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Path) -> Results:
        """Those of a finished evaluation run, given by its directory or its ``results.json``.

        Raises:
            InputError: the file cannot be read.
            RunError: it holds no results.
        """
        path = run / RESULTS if run.is_dir() else run
        text = read_text(path)
        try:
            return cls.from_dict(json.loads(text))
        except (*NOT_JSON, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{path} holds no results of an evaluation ({error!r}).") from error

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Results:
        """From the content of a ``results.json``.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is none.
        """
        if not isinstance(content.get("adapter"), Mapping | None):
            raise TypeError(f"adapter is {content['adapter']!r}")
        return cls(
            {str(model["name"]): _model_ref(model.get("ref") or {}) for model in content.get("models") or []},
            tuple(Value.from_dict(row) for row in content["results"]),
            tuple(Difference.from_dict(row) for row in content.get("differences") or []),
            content.get("adapter"),
            content.get("reasoning") or {},
            {name: Asked.from_dict(asked) for name, asked in (content.get("asked") or {}).items()},
        )

    def as_dict(self) -> dict[str, Any]:
        """The content of ``results.json``."""
        return {
            "models": [{"name": name, "ref": dataclasses.asdict(ref)} for name, ref in self.models.items()],
            "adapter": self.adapter,
            "results": [value.as_dict() for value in self.values],
            "differences": [difference.as_dict() for difference in self.differences],
            **({"reasoning": self.reasoning} if self.reasoning else {}),
            **({"asked": {name: asked.as_dict() for name, asked in self.asked.items()}} if self.asked else {}),
        }

    def asked_of(self, value: Value) -> Asked:
        """What a value is of; of a run that did not record it, what its data say."""
        return self.asked.get(value.benchmark) or Asked(value.benchmark, value.benchmark, data=value.data)

    def write(self, run: Path) -> None:
        """Write the ``results.json`` of a run directory, whole or not at all."""
        write_atomic(run / RESULTS, json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n")

    def by_key(self, model: str) -> dict[Key, Value]:
        """The values of one model, in the order of the file."""
        return {value.key: value for value in self.values if value.model == model}

    def differences_by_key(self) -> dict[Key, Difference]:
        return {difference.key: difference for difference in self.differences}

    def table(self, *, brief: bool = False) -> tuple[list[str], list[list[str]]]:
        """Columns and rows of text: a row for each metric, base and adapter side by side; those of whole benchmarks
        before those of parts.

        Args:
            brief: what 80 columns hold: without p-values, counts but n, and intervals of the two models.
        """
        counts = {"n": "n"} if brief else {"n": "n", "unparsed": "parse_failures"}
        if not brief and any(value.missing for value in self.values):
            counts["missing"] = "missing"
        adapter, differences = self.by_key(ADAPTER), self.differences_by_key()
        rows = []
        for key, value in sorted(self.by_key(BASE).items(), key=lambda item: item[0].part != ALL):
            models, digits, asked = [value], decimals(value.value), self.asked_of(value)
            if differences:
                other, change = adapter.get(key), differences.get(key)
                models += [other] if other else []
                texts = (one.text(digits=digits) for one in models)
                cells = [text.partition(" ")[0] if brief else text for text in texts]
                cells += [] if other else ["–"]
                cells += [change.text(signed=True, digits=digits), asked.marked(change.mark)] if change else ["–", ""]
                cells += [] if brief else [change.p_text if change else "–"]
            else:
                cells = [value.text(digits=digits)]
            numbers = (dict.fromkeys(str(getattr(model, name)) for model in models) for name in counts.values())
            rows.append([key.name, *cells, *map(" / ".join, numbers)])
        columns = ["adapter", "difference", "change", *([] if brief else ["p"])] if differences else []
        return ["metric", "base", *columns, *counts], rows

    def to_pandas(self, what: Literal["values", "differences"] = "values") -> pd.DataFrame:
        """A row for each value or paired difference; the columns are the fields of `Value` or `Difference`.

        Raises:
            UsageError: neither of the two.
        """
        import pandas as pd

        kinds = {"values": Value, "differences": Difference}
        if what not in kinds:
            raise UsageError(f"An evaluation has no {what!r}.", suggest(what, list(kinds)))
        cls = kinds[what]
        names = [column.name for column in dataclasses.fields(cls)]
        return pd.DataFrame([[getattr(row, name) for name in names] for row in getattr(self, what)], columns=names)

    def __repr__(self) -> str:
        return f"{TITLE}\n{plain_table(*self.table())}"

    def _repr_html_(self) -> str:
        return html_table(*self.table())


def _model_ref(row: Mapping[str, Any]) -> ModelRef:
    return ModelRef(str(row.get("model") or ""), row.get("revision"), row.get("adapter"), row.get("adapter_revision"))
