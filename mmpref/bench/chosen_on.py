"""Data that chose an adapter say little of it: whether an evaluation's data are those by which its step was kept."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence

from mmpref.bench.benchmark import Sample
from mmpref.bench.official import same_data
from mmpref.bench.repeats import question_digest
from mmpref.log import warn
from mmpref.origins.revisions import run_of_adapter
from mmpref.run.asked import Asked
from mmpref.types import ModelRef

_BYTES = 6
"""Of each digest: nine thousand questions and as many others agree by chance in one of three million cases."""


def row_digests(samples: Sequence[Sample]) -> str:
    """Which questions, however they are called and wherever they lie: the first bytes of `question_digest` of each,
    sorted, in base 64; eight characters a question."""
    digests = {digest[:_BYTES] for sample in samples if (digest := question_digest(sample))}
    return base64.b64encode(b"".join(sorted(digests))).decode()


def mark_chosen_on(
    asked: Mapping[str, Asked], samples: Mapping[str, Sequence[Sample]], ref: ModelRef
) -> dict[str, Asked]:
    """What is evaluated, with `Asked.chose` where the adapter's step was chosen on the same data; a warning says so.
    Data are the same where questions are, or where both are rows of one split.

    Args:
        samples: of each that is evaluated.
        ref: the adapter, at the commit that is evaluated. One that does not come with its run's manifest is left as it
            is.
    """
    assert ref.adapter is not None
    manifest = run_of_adapter(ref.adapter, ref.adapter_revision)
    best, watched = manifest.get("best"), manifest.get("watched") or {}
    if not isinstance(best, Mapping) or not isinstance(watched, Mapping):
        return dict(asked)
    try:
        data = Asked.from_dict(watched[str(best.get("metric", "")).split("/")[0]])
    except (KeyError, TypeError, AttributeError):
        return dict(asked)
    chose = {name: best.get(name) for name in ("step", "metric")}
    marked = {}
    for label, of in asked.items():
        shared = _shared(data, samples[label])
        if shared or same_data(of, data):
            of = dataclasses.replace(of, chose={**chose, **({"shared": shared} if shared else {})})
        marked[label] = of
    warn_of_choice(marked)
    return marked


def _shared(watched: Asked, samples: Sequence[Sample]) -> int:
    """How many of the samples are among the questions that were watched; 0 where the run did not record which."""
    try:
        rows = base64.b64decode(str(watched.rows), validate=True)
    except ValueError:  # a stranger's
        return 0
    theirs = {rows[place : place + _BYTES] for place in range(0, len(rows), _BYTES)}
    return sum((question_digest(sample) or b"")[:_BYTES] in theirs for sample in samples) if theirs else 0


def warn_of_choice(asked: Mapping[str, Asked]) -> None:
    """Warn of the benchmarks whose data chose the adapter."""
    for of in asked.values():
        if of.chose:
            warn(
                f"step {of.chose['step']} of the adapter was chosen by {of.chose['metric']} on the same data as "
                f"{of.title}{shared_text(of)}: its values there are too good. Report on data that chose nothing "
                "(another --split, or choose by another with --eval-split)."
            )


def shared_questions(chosen: Sequence[Sample], reported: Sequence[Sample]) -> int:
    """How many of the questions that are reported on are among those that chose."""
    theirs = {digest for sample in chosen if (digest := question_digest(sample))}
    return sum(question_digest(sample) in theirs for sample in reported)


def shared_text(asked: Asked) -> str:
    """How many of the questions chose, where not all did."""
    shared = (asked.chose or {}).get("shared", asked.questions)
    return f" ({shared} of {asked.questions} questions)" if shared != asked.questions else ""
