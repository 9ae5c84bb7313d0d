"""The seam of dataset builders: examples in, pairs and skips out, one closed block at a time.

A builder is one file in `mmpref/data/builders` (or in a plugin's package under the entry-point group
``mmpref.builders``) with a module-level ``BUILDER``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mmpref.data.row_facts import Reader
from mmpref.hub_ids import name_for_others
from mmpref.registry import Registry
from mmpref.tables.table import Origin
from mmpref.types import Example, ModelRef, Pair, Skip
from mmpref.workers import default_workers

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

SAME = "same-as-chosen"
"""Reason of a skip: the rejected answer came out equal to the chosen one."""
CUT_OFF = "cut-off"
"""Reason of a skip: a bound on length cut the answer off, so that a pair would teach to stop anywhere."""


Outcome = Pair | Skip | tuple[Pair, ...]
"""What became of an example: where a method makes several pairs of it, all of them, with ids of their own."""

MakePairs = Callable[[Sequence[Example]], Sequence[Outcome]]
"""Turns one block of consecutive examples into one `Outcome` for every example, in order. A block is the unit of
determinism and of restart: the same block gives the same result whatever was done before it in the process. A pair
whose rejected answer is empty, or the chosen one, becomes a skip in `mmpref.data.blocks`."""


class Worker:
    """A `MakePairs` that does more: it preprocesses ahead, counts, or holds what must be closed."""

    def __call__(self, block: Sequence[Example]) -> Sequence[Outcome]:
        raise NotImplementedError

    def begin(self, block: Sequence[Example]) -> None:
        """Start to preprocess the next block, while the one before is in work."""

    def notes(self) -> dict[str, float]:
        """What was counted since the last call; the run adds these up and reports them."""
        return {}

    def close(self) -> None:
        """End what was started; called once, after the last block."""


class _PlainWorker(Worker):
    def __init__(self, make_pairs: MakePairs) -> None:
        self._make_pairs = make_pairs

    def __call__(self, block: Sequence[Example]) -> Sequence[Outcome]:
        return self._make_pairs(block)


def as_worker(make_pairs: MakePairs) -> Worker:
    """A plain callable as a `Worker`."""
    return make_pairs if isinstance(make_pairs, Worker) else _PlainWorker(make_pairs)


@dataclass(frozen=True)
class Context:
    """What a builder may use. Models load on first use, so that a finished run needs none.

    Args:
        policy: loads the run's model (cached by the caller).
        model: which model that is; None for a method that uses none.
        seed: the run's seed; draw from (seed, example id, ...) only.
        workers: processes that preprocess images ahead of the model; None leaves it to `preprocessors`.
        annotator: who is asked, where the method asks somebody.
        concurrency: requests to an endpoint in flight at a time.
        endpoint: URL and name of the model where it is behind a server: there is no policy then.
    """

    policy: Callable[[], Policy]
    model: ModelRef | None
    seed: int
    workers: int | None = None
    annotator: str | None = None
    concurrency: int = 8
    endpoint: tuple[str, str] | None = None

    @property
    def writer(self) -> str:
        """Whose answers the run's model's are, as rows that are published name it: without folders of this machine."""
        if self.endpoint:
            return name_for_others(self.endpoint[1])
        assert self.model is not None
        adapter = self.model.adapter and name_for_others(self.model.adapter)
        return str(replace(self.model, model=name_for_others(self.model.model), adapter=adapter))

    def asked(self, who: str) -> str:
        """Who is asked by a word; the run's own model (``policy``) by its URL, where it is behind a server."""
        return "#".join(self.endpoint) if self.endpoint and who == "policy" else who

    def preprocessors(self, device: str) -> int:
        """How many processes should preprocess ahead: as asked for, or `mmpref.workers.default_workers`."""
        return default_workers(device != "cpu") if self.workers is None else self.workers


@dataclass(frozen=True)
class Pilot:
    """Settings that the first rows of a source decide. A run decides once, and goes on so.

    Args:
        rows: from a config instance, how many usable rows it takes; 0 where nothing is to be decided.
        decide: from a context, the config instance and these rows, the settings to replace, and what the report says.
    """

    rows: Callable[[Any], int]
    decide: Callable[[Context, Any, Sequence[Example]], tuple[dict[str, Any], dict[str, Any]]]


@dataclass(frozen=True)
class Builder:
    """A method of making preference data.

    Args:
        config: gives the frozen dataclass of the settings (the recipe's ``builder:`` block); called when it is needed,
            so that naming builders loads no torch.
        worker: makes the `Worker`, or a plain `MakePairs`, from a context and a config instance.
        uses_model: whether a model writes or judges anything; where not, the recipe has none and none is loaded.
        needs_annotator: whether somebody ranks, rewrites or checks answers (``--annotator``).
        default_annotator: who does, where a recipe names nobody; None where it must.
        writes_chosen: whether the chosen answers are the method's too, not the source's.
        corrects: whether the chosen answers are the model's own as the annotator corrected them.
        rewrites: whether the rejected answer is made from the chosen one, which is the model's own.
        paints: whether the pair's images are the source's with a part of each painted over.
        needs_pairs: whether it takes the source's own rejected answers, so that a source without any is of no use.
        takes_context: whether rows are of use whose answers continue a context (`mmpref.types.context_of`).
        origin: where the method's own source is published; a recipe without a source reads that.
        adapter: from a config instance, the adapter that the run's model is loaded with; None for none.
        model_settings: settings that name further models, such as ``similarity_model``.
        tries: from a config instance, how many tries a pair may take, and from which similarity on the last one is kept
            unresolved (None: never).
        reader: makes, from a config instance and the run's seed, what turns the source's rows as they were published
            into rows of the shapes of `mmpref.tables.messages`; without one they must be such already.
        pilot: decides settings by the first rows.
        report: from the run's notes, what else the report says, and the notes that are shown as they are.
        served: from a config instance, why the model cannot be one behind a server, as a clause; empty where it can.
    """

    config: Callable[[], type[Any]]
    worker: Callable[[Context, Any], MakePairs]
    uses_model: bool = True
    needs_annotator: bool = False
    default_annotator: str | None = None
    writes_chosen: bool = False
    corrects: bool = False
    rewrites: bool = False
    paints: bool = False
    needs_pairs: bool = False
    takes_context: bool = False
    origin: Origin | None = None
    adapter: Callable[[Any], str | None] = lambda _: None
    model_settings: tuple[str, ...] = ()
    tries: Callable[[Any], tuple[int, float | None]] = lambda _: (1, None)
    reader: Callable[[Any, int], Reader] | None = None
    pilot: Pilot | None = None
    report: Callable[[Mapping[str, float]], tuple[dict[str, Any], dict[str, float]]] = lambda notes: ({}, dict(notes))
    served: Callable[[Any], str] = lambda _: "this method works on the model itself"

    def models(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Further models that a recipe's settings name, by what they are: ``{"similarity model": ...}``."""
        return {name.replace("_", " "): settings[name] for name in self.model_settings if settings.get(name)}

    def reads(self, settings: Any, seed: int) -> Reader | None:
        """What turns the source's rows into rows of known shapes; None where they are such already."""
        return self.reader(settings, seed) if self.reader else None

    @property
    def written_columns(self) -> list[str]:
        """Which answers the method writes, the source's being the others."""
        if self.writes_chosen:
            return ["chosen", "rejected"]
        return ["rejected"] if self.uses_model or self.needs_annotator or not self.needs_pairs else []

    @property
    def answer_facts(self) -> dict[str, Any]:
        """What a run's manifest says of how the answers came about."""
        marks = {"corrected": self.corrects, "rewritten": self.rewrites, "painted": self.paints}
        return {"written": self.written_columns, **{name: True for name, is_so in marks.items() if is_so}}


BUILDERS: Registry[Builder] = Registry("dataset method", "mmpref.builders", "BUILDER")
