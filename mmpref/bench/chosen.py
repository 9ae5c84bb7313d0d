"""Data that chose an adapter say little of it: whether an evaluation's data are those by which its step was kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mmpref.bench.official import same_data
from mmpref.log import logger
from mmpref.run.asked import Asked
from mmpref.types import ModelRef
from mmpref.vlm.revisions import run_of_adapter


def mark_chosen(asked: Mapping[str, Asked], ref: ModelRef) -> dict[str, Asked]:
    """What is evaluated, with `Asked.chose` where the adapter's step was chosen on the same data; a warning says so.

    Args:
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
    marked = {label: dataclasses.replace(of, chose=chose) if same_data(of, data) else of for label, of in asked.items()}
    warn_of_choice(marked)
    return marked


def warn_of_choice(asked: Mapping[str, Asked]) -> None:
    """Warn of the benchmarks whose data chose the adapter."""
    for of in asked.values():
        if of.chose:
            logger.warning(
                "Warning: step %s of the adapter was chosen by %s on the same data as %s: its values there are too "
                "good. Report on data that chose nothing (another --split, or choose by another with --eval-split).",
                *(of.chose["step"], of.chose["metric"], of.title),
            )
