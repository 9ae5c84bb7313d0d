"""One model of one finished evaluation run, as comparisons read it: results, resamples and per-sample records."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import BENCHMARKS, places
from mmpref.bench.bootstrap import Clusters, replicates
from mmpref.bench.own_metrics import own_metrics, scores_of
from mmpref.bench.paired import Change, change_of, pairs_of, scored_by_both
from mmpref.bench.records import Record, read_records, read_resamples
from mmpref.errors import InputError, MmprefError, RunError, UsageError
from mmpref.run.asked import Asked, Marks
from mmpref.run.manifest import read_manifest
from mmpref.run.results import BASE, Key, Results, Value

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import CountKey, Metric, Score

SETTINGS = "settings differ"
"""How a warning words that benchmarks were asked or scored otherwise."""
EVALUATE = "evaluate"
"""The command, and what `reproduce` calls the folder of its run."""


@dataclass(frozen=True)
class FinishedModel:
    """A model that was evaluated: a column of a comparison.

    Args:
        name: of the run and the model.
        run: the run's directory.
        model: ``base`` or ``adapter``.
        values: its results by key.
        manifest: of the run.
        asked: what its results are of, by benchmark; runs of before did not record it.
    """

    name: str
    run: Path
    model: str
    values: Mapping[Key, Value]
    manifest: Mapping[str, Any]
    asked: Mapping[str, Asked] = field(default_factory=dict)

    def marks(self, benchmark: str) -> Marks:
        """What stands behind verdicts on it there; nothing of a base."""
        asked = None if self.model == BASE else self.asked.get(benchmark)
        return asked.marks if asked else ()

    @property
    def benchmarks(self) -> list[str]:
        return list(dict.fromkeys(key.benchmark for key in self.values))

    def conditions(self, benchmark: str) -> dict[str, Any]:
        """What must be equal for numbers to be compared, by how a warning words it; none where it was not scored."""
        value = next((value for key, value in self.values.items() if key.benchmark == benchmark), None)
        if value is None:
            return {}
        return {
            "data differ": value.data.get("fingerprint"),
            "split of the data differs": value.data.get("split"),
            SETTINGS: value.settings_hash,
            "number of samples differs": self.manifest.get("counts", {}).get(benchmark),
        }

    def rules(self, benchmark: str) -> dict[str, Any]:
        """What must be equal too, of runs that recorded it, by how a warning words it; None where this one did not: the
        questions with their images (of the same rows another version of mmpref may ask others), the content of the
        files that settings name, what is taken for reasoning, and the judge that the benchmark's own code asks."""
        facts, asked = self._data_facts(benchmark), self.asked.get(benchmark)
        return {
            "questions or their images differ": facts.get("samples"),
            "files that it is scored with differ": self._files(benchmark, facts.get("files")),
            "markers of reasoning differ": (self.manifest.get("recipe") or {}).get("thinking"),
            "judge differs": ((asked.changed if asked else None) or {}).get("judge"),
        }

    def rules_unlike(self, other: FinishedModel, benchmark: str) -> list[str]:
        """Which of the `rules` both recorded, and not the same."""
        pairs = zip(self.rules(benchmark).items(), other.rules(benchmark).values(), strict=True)
        return [what for (what, own), others in pairs if None not in (own, others) and own != others]

    def _data_facts(self, benchmark: str) -> Mapping[str, Any]:
        """What the run recorded of its data; nothing where it did not."""
        sighted = benchmark.partition("-blind-")[0]
        data = self.manifest.get("data") or {}
        return next((facts for name, facts in data.items() if name.replace(":", ".", 1) == sighted), {})

    def _files(self, benchmark: str, files: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """Those that decide scores: where images lie does not."""
        if not files:
            return files
        try:
            aside = places(BENCHMARKS.get(benchmark.partition("-blind-")[0]).settings)
        except UsageError:  # a plugin's that is not here
            return files
        return {name: digest for name, digest in files.items() if name not in aside}

    def missing(self, benchmark: str) -> int | None:
        """How many samples are missing; None where the benchmark was not scored."""
        if benchmark not in self.benchmarks:
            return None
        if records := self.records(benchmark):
            return sum(record.missing for record in records)
        missing = self.manifest.get("missing", {}).get(benchmark, 0)  # runs of before counted the base's alone
        return int(missing.get(self.model, 0) if isinstance(missing, Mapping) else missing)

    def is_same_base_as(self, other: FinishedModel) -> bool:
        """Whether both are the same base, scored in the same way to the same scores: what its results are over depends
        on the adapter beside it."""
        model = self.manifest.get("model")
        known = model is not None and model == other.manifest.get("model")
        alike = known and self.model == other.model == BASE and self._scores_text() == other._scores_text()
        return alike and not any(self.rules_unlike(other, benchmark) for benchmark in self.benchmarks)

    def is_same_as(self, other: FinishedModel) -> bool:
        """Whether both are one model of one run, or the same base of two."""
        one_run = self.model == other.model and self.run.resolve() == other.run.resolve()
        return one_run or self.is_same_base_as(other)

    def _scores_text(self) -> str:
        """The scores of every sample as text, with what was asked; the values of a run without records. (A number that
        is undefined, NaN, would not equal itself.)"""
        if not all(self.records(benchmark) for benchmark in self.benchmarks):
            return json.dumps([value.as_dict() for value in self.values.values()], sort_keys=True)
        asked = [(key, value.settings_hash, value.data) for key, value in self.values.items()]
        records = [[asdict(one) for one in self._unpaired(name)] for name in self.benchmarks]
        return json.dumps([self.manifest.get("seeds"), asked, records], sort_keys=True)

    def _unpaired(self, benchmark: str) -> list[Record]:
        """The records without what a model beside it lacks, which decides where counts of groups stand."""
        records = self.records(benchmark)
        scores = scores_of(records, {one.id for one in records if not one.missing}, ())
        counts = {name: {str(key): n for key, n in score.counts.items()} for name, score in scores.items()}
        return [replace(one, counted=False, counts=counts.get(one.id, {}), groups={}, right=False) for one in records]

    def is_asked_like(self, other: FinishedModel, benchmark: str) -> bool:
        """Whether both were asked the same samples under the same conditions, and kept what they answered."""
        if not self.conditions(benchmark) or self.conditions(benchmark) != other.conditions(benchmark):
            return False
        if self.manifest.get("seeds") != other.manifest.get("seeds"):
            return False
        if self.rules_unlike(other, benchmark):
            return False
        own, others = ([(record.id, record.image_id) for record in model.records(benchmark)] for model in (self, other))
        return bool(own) and own == others

    def counts_like(self, other: FinishedModel, benchmark: str) -> bool:
        """Whether the results of both are over the same samples."""
        return self._counted(benchmark) == other._counted(benchmark)

    def pairs_with(self, other: FinishedModel, benchmark: str) -> bool:
        """Whether both were asked the same, and were resampled alike."""
        return self.is_asked_like(other, benchmark) and self.counts_like(other, benchmark)

    def _counted(self, benchmark: str) -> frozenset[str]:
        return frozenset(record.id for record in self.records(benchmark) if record.counted)

    @cached_property
    def resamples(self) -> Mapping[Key, np.ndarray]:
        """float64 [1 + resamples] by key; empty where the run kept none."""
        return read_resamples(self.run, self.model)

    def change_from(self, first: FinishedModel, key: Key) -> Change | None:
        """What this model has of a metric beside the first one, on their pairs (`mmpref.bench.paired`); None where the
        two were not asked the same under the same conditions, kept no resamples, or are `unpaired_because`."""
        if not self.is_asked_like(first, key.benchmark):
            return None
        if not self.counts_like(first, key.benchmark):
            return self._rescored(first, key.benchmark)[0].get(key)
        before, after = first.resamples.get(key), self.resamples.get(key)
        if before is None or after is None or before.shape != after.shape:
            return None
        kept, value, gains = self._counted(key.benchmark), self.values[key], None
        sums = first._by_image(value), self._by_image(value)
        if value.binary and value.of:
            gains = [sums[1][image][value.of[0]] - counts[value.of[0]] for image, counts in sums[0].items()]
        over = value.of[1] if value.of else ""
        pairs = pairs_of(first.records(key.benchmark), self.records(key.benchmark), kept, over)
        return Change(before, after, gains, len(sums[0]), len(_changed(*sums)), pairs)

    def changed_from(self, first: FinishedModel, key: Key) -> set[str]:
        """Ids of the images on which the counts that a metric is made of are others than the first model's, which was
        asked the same and whose results are over the same samples (`pairs_with`)."""
        return _changed(first._by_image(self.values[key]), self._by_image(self.values[key]))

    def _by_image(self, value: Value) -> dict[str, Counter[str]]:
        """The sums of the counts that a metric is made of, all where it is no quotient of two, by image."""
        kept = self._sums.setdefault((value.benchmark, value.of), {})
        if not kept:
            for record in self.records(value.benchmark):
                if record.counted:
                    sums = kept.setdefault(record.image_id, Counter())
                    for name in value.of or record.counts:
                        sums[name] += record.counts.get(name, 0.0)  # type: ignore[assignment]
        return kept

    def unpaired_because(self, first: FinishedModel, benchmark: str) -> str:
        """Why nothing can be made of the pairs of two models whose results are over different samples; "" where it can,
        or where the two were not asked the same."""
        if not self.is_asked_like(first, benchmark) or self.counts_like(first, benchmark):
            return ""
        return self._rescored(first, benchmark)[1]

    def _rescored(self, first: FinishedModel, benchmark: str) -> tuple[Mapping[Key, Change], str]:
        """Every metric on the pairs with a model whose results are over other samples; or why there is none."""
        if (first.name, benchmark) not in self._rescored_with:
            try:
                found: tuple[Mapping[Key, Change], str] = self._changes(first, benchmark), ""
            except (MmprefError, ImportError) as error:
                found = {}, str(error)
            except (KeyError, TypeError):
                found = {}, "the metrics of this version take other counts than the records of these runs have."
            self._rescored_with[first.name, benchmark] = found
        return self._rescored_with[first.name, benchmark]

    def _changes(self, first: FinishedModel, benchmark: str) -> Mapping[Key, Change]:
        values = {key: value for key, value in self.values.items() if key.benchmark == benchmark}
        parts = {key.part for key in values}
        records = first.records(benchmark), self.records(benchmark)
        kept = scored_by_both(*records)
        paired = [scores_of(of, kept, parts) for of in records]
        own = [
            scores_of(of, model._counted(benchmark), parts) for model, of in zip((first, self), records, strict=True)
        ]
        every = [score for scores in (*own, *paired) for score in scores.values()]
        # The settings are this run's, not those of a baseline that a stranger may have published.
        metrics = own_metrics(self.manifest["recipe"], benchmark, values, every)
        if any(metric.grouped for metric in metrics.values()) and not all(
            any(one.groups for one in of) for of in records
        ):
            raise RunError("the records of one do not say which samples count together; evaluate it again.")
        names = {name for score in every for name in score.counts}
        for model, scores in zip((first, self), own, strict=True):
            model._refuse_other_metrics(metrics, [*scores.values()], names)
        images = [one.image_id for one in records[0] if one.id in kept]
        before, after = (Clusters.of(images, [*scores.values()], names) for scores in paired)
        seed = self.manifest["seeds"]["bootstrap"]
        return {
            key: change_of(metric, before, after, pairs_of(*records, kept, str(metric.n)), seed)
            for key, metric in metrics.items()
        }

    def _refuse_other_metrics(
        self, metrics: Mapping[Key, Metric], scores: Sequence[Score], names: Collection[CountKey | str]
    ) -> None:
        """Refuse metrics that make other numbers of a run's records than its results have, as where they were defined
        otherwise then.

        Args:
            scores: of the samples that the results are over.
            names: of all counts.
        """
        whole = Clusters.of([""] * len(scores), scores, names)
        for key, metric in metrics.items():
            made, value = float(replicates(whole, metric, 0)[0]), self.values.get(key)
            if value is None or (math.isnan(made) and not value.is_defined):
                continue
            if not math.isclose(made, value.value, abs_tol=1e-9):
                raise RunError(f"{key.name} of {self.name} cannot be made again of its records.")

    @cached_property
    def _rescored_with(self) -> dict[tuple[str, str], tuple[Mapping[Key, Change], str]]:
        return {}

    @cached_property
    def _sums(self) -> dict[tuple[str, tuple[str, str] | None], dict[str, Counter[str]]]:
        return {}

    @cached_property
    def _records(self) -> dict[str, list[Record]]:
        return {}

    def records(self, benchmark: str) -> Sequence[Record]:
        """The kept answers, in the benchmark's order; none where there is no file."""
        if benchmark not in self._records:
            self._records[benchmark] = read_records(self.run, self.model, benchmark)
        return self._records[benchmark]


def _changed(before: Mapping[str, Counter[str]], after: Mapping[str, Counter[str]]) -> set[str]:
    return {image for image, counts in before.items() if counts != after[image]}


def run_names(runs: Sequence[Path]) -> list[str]:
    """What readers tell runs apart by: the name of each one's folder, with as many of those above as it takes. The one
    that `reproduce` calls ``evaluate``, as all the others, goes by the folder above it."""
    every = [run.resolve().parts for run in runs]
    telling = [parts[:-1] if parts[-1] == EVALUATE and len(parts) > 2 else parts for parts in every]
    parts = telling if len(set(telling)) == len(set(every)) else every
    names: list[str] = []
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def read_finished(runs: Sequence[Path]) -> list[FinishedModel]:
    """The models of finished evaluation runs; a base that several runs scored alike stands once.

    Raises:
        RunError: a directory is no finished run.
        InputError: a run of another command.
    """
    models: list[FinishedModel] = []
    for run, run_name in zip(runs, run_names(runs), strict=True):
        manifest = read_manifest(run)
        if manifest["command"] != EVALUATE:
            raise InputError(f"{run} is a run of `{manifest['command']}`, not an evaluation.")
        results = Results.read(run)
        for name in results.models:
            model = FinishedModel(f"{run_name}: {name}", run, name, results.by_key(name), manifest, results.asked)
            same = next((index for index, other in enumerate(models) if model.is_same_base_as(other)), None)
            if same is None:
                models.append(model)
            else:
                models[same] = replace(models[same], name=f"{run_name}, {models[same].name}")
    return models


def tested_models(run: Path) -> tuple[FinishedModel | None, FinishedModel]:
    """The base and the model that an evaluation was about: its adapter with the base, or the base alone (None, base).

    Raises:
        RunError: the directory is no finished run.
        InputError: a run of another command.
    """
    base, *adapter = read_finished([run])
    return (base, adapter[0]) if adapter else (None, base)


def first_with(models: Sequence[FinishedModel], benchmark: str) -> FinishedModel:
    """What a benchmark's other models are set against: the first one that has it.

    Raises:
        ValueError: none has it.
    """
    for model in models:
        if benchmark in model.benchmarks:
            return model
    raise ValueError(f"No model has {benchmark}.")


def headlines(models: Sequence[FinishedModel]) -> list[Key]:
    """The metrics that claims are made on."""
    return list(dict.fromkeys(key for model in models for key, value in model.values.items() if value.headline))
