"""What a study measures, and the ledger that keeps it: one small JSON file a measurement, fit for a repository.

A ledger is enough for paired intervals over images without the folders of the runs: every measurement holds the sums
of each image's counts, by benchmark, and `Images` are kept once for all that have the same. Its bytes depend on the
numbers only; how long something took stands apart, in ``timings.jsonl``.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import shutil
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import RunError
from mmpref.run.files import JsonLines, write_atomic
from mmpref.run.results import ALL, Key
from mmpref.run.results_text import MOST_UNREAD

if TYPE_CHECKING:
    import numpy as np

TIMINGS = "timings.jsonl"
BASES = "bases.json"


@dataclass(frozen=True)
class MetricValue:
    """One number of one model.

    Args:
        key: benchmark, metric and part (``all`` for the whole).
        value: as the evaluation has it.
        n: what it is over.
        higher_is_better: None where neither is.
        of: names of the two counts whose sums' quotient it is, where it is one.
        unread: share of its answers that could not be read, where it is more than a few.
    """

    key: Key
    value: float
    n: int
    higher_is_better: bool | None = None
    of: tuple[str, str] | None = None
    unread: float = 0.0

    @property
    def is_form(self) -> bool:
        """Whether most of its answers could not be read: it measures their form then, not what they say."""
        return self.unread > MOST_UNREAD


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """The sums of counts of every image of a benchmark, in the benchmark's order of images.

    Args:
        images: SHA-256 (hex) of the list of image ids: two with the same are paired, row by row.
        names: of the counts, sorted, such as ``hallucinated`` or ``adversarial/right``.
        sums: [images, counts], integers of the smallest type that holds them, else float64; an image of which any
            question lacks a score has zeros, for two models are compared on the same questions.
    """

    images: str
    names: tuple[str, ...]
    sums: np.ndarray

    def of(self, name: str) -> np.ndarray:
        """float64 [images] of one count; zeros where nothing was counted.

        Args:
            name: as in ``names``, and as in `MetricValue.of`.
        """
        import numpy as np

        if name not in self.names:
            return np.zeros(len(self.sums))
        return np.asarray(self.sums[:, self.names.index(name)], dtype=np.float64)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageCounts) and self.as_dict() == other.as_dict()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: the array as base64 of its zlib-compressed little-endian bytes, a count after the other."""
        array = self.sums.astype(self.sums.dtype.newbyteorder("<")).T
        packed = base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()
        return {
            "images": self.images,
            "names": list(self.names),
            "shape": list(self.sums.shape),
            "dtype": self.sums.dtype.name,
            "sums": packed,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ImageCounts:
        import numpy as np

        images, counts = row["shape"]
        raw = zlib.decompress(base64.b64decode(row["sums"]))
        array = np.frombuffer(raw, np.dtype(row["dtype"]).newbyteorder("<")).astype(row["dtype"])
        return cls(row["images"], tuple(row["names"]), array.reshape(counts, images).T)

    @classmethod
    def collect(
        cls, image_ids: Iterable[str], counts: Iterable[Mapping[str, float] | None]
    ) -> tuple[ImageCounts, list[str]]:
        """From samples: each one's image and counts, None of one without a score.

        Returns:
            The sums by image, and the images in order of their first sample.
        """
        import numpy as np

        sums: dict[str, dict[str, float]] = {}
        unscored: set[str] = set()
        for image_id, sample in zip(image_ids, counts, strict=True):
            of_image = sums.setdefault(image_id, {})
            if sample is None:
                unscored.add(image_id)
            for name, value in (sample or {}).items():
                of_image[name] = of_image.get(name, 0.0) + value
        sums |= {image_id: {} for image_id in unscored}
        names = sorted({name for of_image in sums.values() for name in of_image})
        array = np.array([[of_image.get(name, 0.0) for name in names] for of_image in sums.values()])
        array = array.reshape(len(sums), len(names))
        if np.array_equal(array, np.rint(array)):
            low, high = (array.min(), array.max()) if array.size else (0, 0)
            array = array.astype(np.result_type(np.min_scalar_type(int(low)), np.min_scalar_type(int(high))))
        return cls(images_hash(list(sums)), tuple(names), array), list(sums)


def images_hash(image_ids: list[str]) -> str:
    """SHA-256 (hex) of a list of image ids."""
    return hashlib.sha256(json.dumps(image_ids, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A model of a row, evaluated once.

    Args:
        row: its name in the plan.
        split: name of the evaluation, such as ``test``.
        base: seed of the base model.
        seed: of the alignment; 0 for a row that trains nothing.
        point: settings that the row's grid tried or chose; empty where it has none.
        is_grid_point: one of the grid, on dev; else a measured run, which is what tables and tests are made of.
        outside: no point of the grid kept what it had to, and this one was taken all the same (see `Grid`).
        recipe_hash: SHA-256 (hex) of all that decides it: base, data, training and evaluation.
        values: every metric of the evaluation.
        counts: by benchmark.
        training: how training ended: ``steps``, ``rows``, ``loss``, ``margin``, ``accuracy``, ...; empty without.
        data: of the pairs: ``pairs``, ``differing_words``, ``length_ratio``, ``similarity``, and the shares
            of pairs that the first try and all tries resolved, ``resolved_first`` and ``resolved``; empty without.
        trained_on: by benchmark, how many of its images are among those of the training; none where there are none.
        kl: mean KL from the base in nats a token, over the adapter's own greedy answers; None where it is the base.
        seconds: that building, training and evaluating took, where it is known; it has no part in equality.
    """

    row: str
    split: str
    base: int
    seed: int
    point: Mapping[str, Any] = field(default_factory=dict)
    is_grid_point: bool = False
    outside: bool = False
    recipe_hash: str = ""
    values: tuple[MetricValue, ...] = ()
    counts: Mapping[str, ImageCounts] = field(default_factory=dict)
    training: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, float] = field(default_factory=dict)
    trained_on: Mapping[str, int] = field(default_factory=dict)
    kl: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)

    def value(self, metric: str | Key) -> MetricValue | None:
        """By its key, or by ``benchmark metric`` and ``benchmark metric part``; None where it was not measured.

        A judged metric is found without its judge too, where one judge alone has judged it.
        """
        name = metric.name if isinstance(metric, Key) else metric.removesuffix(f" {ALL}")
        exact = next((value for value in self.values if value.key.name == name), None)
        judged = [value for value in self.values if value.key.unjudged.name == name]
        return exact or (judged[0] if len(judged) == 1 else None)

    @property
    def name(self) -> str:
        """Of its file in the ledger, without the ending; unique in a study."""
        point = "".join(f"-{key.rpartition('.')[2]}={value}" for key, value in self.point.items())
        stem = f"base{self.base}-seed{self.seed}"
        return f"{self.row}/{self.split}-{stem}" + (f"-grid{point}" if self.is_grid_point else "")

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, but for ``seconds``."""
        row = dataclasses.asdict(dataclasses.replace(self, counts={}))
        del row["seconds"]
        if not self.trained_on:  # as in ledgers of before
            del row["trained_on"]
        values = [
            {**value.key._asdict(), "value": None if math.isnan(value.value) else value.value}
            | {"n": value.n, "higher_is_better": value.higher_is_better}
            | ({"of": list(value.of)} if value.of else {})
            | ({"unread": value.unread} if value.unread else {})
            for value in self.values
        ]
        return {**row, "values": values, "counts": {name: one.as_dict() for name, one in self.counts.items()}}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Measurement:
        values = tuple(
            MetricValue(
                Key(value["benchmark"], value["metric"], value["part"]),
                math.nan if value["value"] is None else value["value"],
                value["n"],
                value["higher_is_better"],
                tuple(value["of"]) if value.get("of") else None,
                value.get("unread", 0.0),
            )
            for value in row["values"]
        )
        counts = {name: ImageCounts.from_dict(one) for name, one in row["counts"].items()}
        return cls(**{**row, "values": values, "counts": counts})


@dataclass(frozen=True)
class Failure:
    """A run that failed, and why; the next run of the study tries it again.

    Args:
        hashes: by split, of all that decides it, as of `mmpref.study.steps.Job`; none where they are not known.
    """

    row: str
    base: int
    seed: int
    point: Mapping[str, Any]
    is_grid_point: bool
    reason: str
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return Measurement(
            row=self.row,
            split="failed",
            base=self.base,
            seed=self.seed,
            point=self.point,
            is_grid_point=self.is_grid_point,
        ).name


@dataclass(frozen=True)
class Ledger:
    """A folder of measurements::

    <row>/<split>-base<B>-seed<S>.json             a measured run
    <row>/<split>-base<B>-seed<S>-grid-....json    a point of the row's grid
    <row>/failed-....json                          a run that failed
    images/<hash>.json                             ids of the images that counts are of, once
    bases.json                                     SHA-256 of the weights of each base that was trained
    timings.jsonl                                  seconds, by measurement
    """

    folder: Path

    @classmethod
    def read(cls, folder: Path) -> list[Measurement]:
        """Every measurement, sorted by row, split, base, seed and point; none where there is no folder.

        Raises:
            RunError: a file that is no measurement.
        """
        ledger = cls(folder)
        seconds = {row["name"]: row["seconds"] for row in JsonLines(folder / TIMINGS).rows()}
        found = [
            dataclasses.replace(one, seconds=seconds.get(one.name, {}))
            for path in ledger._files()
            if not path.name.startswith("failed-") and (one := _read(path, Measurement.from_dict))
        ]
        return sorted(found, key=lambda one: (one.row, one.split, one.base, one.seed, one.is_grid_point, one.name))

    def failures(self) -> list[Failure]:
        """Runs that failed and were not measured since."""
        paths = [path for path in self._files() if path.name.startswith("failed-")]
        return [_read(path, lambda row: Failure(**row)) for path in paths]

    def image_ids(self, images: str) -> list[str]:
        """The ids of the images of counts, in the order of their rows.

        Args:
            images: as in `ImageCounts`.

        Raises:
            InputError: the ledger lacks them.
        """
        return _read(self.folder / "images" / f"{images}.json", list)

    def write(self, one: Measurement, images: Iterable[list[str]] = ()) -> None:
        """Keep a measurement, in place of an earlier one of the same name.

        Args:
            images: ids of the images of its counts, by benchmark.

        Raises:
            RunError: the disk is full or refuses the write.
        """
        for image_ids in images:
            path = self.folder / "images" / f"{images_hash(image_ids)}.json"
            if not path.is_file():
                write_atomic(path, json.dumps(image_ids, ensure_ascii=False) + "\n")
        if one.seconds:
            with JsonLines(self.folder / TIMINGS).appending() as append:
                append({"name": one.name, "seconds": dict(one.seconds)})
        self._write(one.name, one.as_dict())
        self.failure_of(one).unlink(missing_ok=True)

    def bases(self) -> dict[str, str]:
        """SHA-256 (hex) of the weights that measurements are of, by the name of the base's folder."""
        path = self.folder / BASES
        return _read(path, dict) if path.is_file() else {}

    def write_base(self, name: str, weights: str) -> None:
        """Keep which weights a base has.

        Raises:
            RunError: the disk is full or refuses the write.
        """
        bases = {**self.bases(), name: weights}
        write_atomic(self.folder / BASES, json.dumps(bases, indent=1, sort_keys=True) + "\n")

    def take(self, other: Ledger) -> None:
        """Take in another ledger of the study: its measurements in place of those of the same names, whose runs have
        not failed any more, and what both know of bases and times."""
        bases = {**self.bases(), **other.bases()}
        timings = [row for ledger in (self, other) for row in JsonLines(ledger.folder / TIMINGS).rows()]
        shutil.copytree(other.folder, self.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(BASES, TIMINGS))
        for name, weights in bases.items():
            self.write_base(name, weights)
        JsonLines(self.folder / TIMINGS).write({json.dumps(row): row for row in timings}.values())
        for one in Ledger.read(other.folder):
            if not other.failure_of(one).is_file():
                self.failure_of(one).unlink(missing_ok=True)

    def write_failure(self, failure: Failure) -> None:
        self._write(failure.name, dataclasses.asdict(failure))

    def failure_of(self, one: Measurement) -> Path:
        """Where it stands that the run failed, before it was measured."""
        name = Failure(one.row, one.base, one.seed, one.point, one.is_grid_point, "").name
        return self.folder / f"{name}.json"

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        write_atomic(self.folder / f"{name}.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def _files(self) -> list[Path]:
        return [path for path in sorted(self.folder.glob("*/*.json")) if path.parent.name != "images"]


def _read(path: Path, make: Any) -> Any:
    from mmpref.text_files import read_text

    text = read_text(path)
    try:
        return make(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise RunError(f"{path} holds no measurement ({error!r}).") from error
