"""The end of a build: blocks to shards, report, picture, card and manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.counts import sum_counts
from mmpref.data.builder import Builder
from mmpref.data.open_source import write_missing_images
from mmpref.data.plot import PICTURE, plot
from mmpref.data.pool_size import POOL
from mmpref.data.shards import Blocks, merge
from mmpref.data.sources import METADATA_LEFT, MISSING
from mmpref.data.stats import build_report
from mmpref.data.validation_split import VALIDATION, validation_mask
from mmpref.errors import InputError, brief
from mmpref.image_metadata import positions_told
from mmpref.judges.pinned import annotator_facts
from mmpref.judges.served import PREFIX
from mmpref.log import counted, logger
from mmpref.reasons import HINTS, log_skips
from mmpref.recipes import schema as recipes
from mmpref.run.directory import Run, WriteCard
from mmpref.run.files import write_atomic
from mmpref.sampling.embedders import embedder_facts
from mmpref.sampling.settings import sampling_facts
from mmpref.tables.named_images import pin_named_images
from mmpref.tables.repeated_pairs import PairKeys, RepeatedPairs, repeated_warnings
from mmpref.tables.rows import NAME_IMAGES, NO_IMAGE
from mmpref.types import ModelRef, Skip

PILOT = "pilot"
"""Name of the facts that a run pins where its first rows decide settings."""
EMBEDDERS = "embedders"
"""Name of the commits of embedders that a run pins."""
ASKED = "asked"
"""Name of those of the models that it asks."""


@dataclass(frozen=True)
class MethodRun:
    """What made the pairs.

    Args:
        method: the builder's name.
        settings: an instance of the builder's config.
        model: None where the method uses none.
        annotator: who was asked, where the method asks somebody.
        seed: of every random draw.
        endpoint: URL and name of the model where it is behind a server.
    """

    method: str
    builder: Builder
    settings: Any
    model: ModelRef | None
    annotator: str | None
    seed: int
    endpoint: tuple[str, str] | None = None


@dataclass(frozen=True)
class Splits:
    """Into which splits the rows go.

    Args:
        name: of the split of all rows, or of those that are not held out.
        validation: share that is held out as a second split; None for no such split.
        seed: of the draw.
    """

    name: str
    validation: float | None
    seed: int

    def masks(self, keys: Sequence[Sequence[str]]) -> dict[str, list[bool] | None]:
        """Which of all rows each split has, None for all.

        Args:
            keys: `mmpref.data.validation_split.split_keys` of each row, where rows are held out.

        Raises:
            InputError: nothing is left for one of them.
        """
        if self.validation is None:
            return {self.name: None}
        held_out = validation_mask(keys, self.validation, self.seed)
        if all(held_out) or not any(held_out):
            raise InputError(
                f"With validation {self.validation}, {sum(held_out)} of {counted(len(held_out), 'row')} would be held "
                "out.",
                "Use more rows, another share or another seed.",
            )
        return {self.name: [not held for held in held_out], VALIDATION: held_out}


def finish(
    run: Run,
    blocks: Blocks,
    count: int,
    made_by: MethodRun,
    splits: Splits,
    source: Mapping[str, Any],
    left_out: Sequence[Skip],
    write_card: WriteCard | None,
) -> None:
    """Merge the blocks and write all that a finished build has; the manifest last.

    Args:
        count: of blocks.
        source: what the manifest says of it.
        left_out: rows that the selection left out.
        write_card: writes ``README.md`` from the directory and the manifest's facts.

    Raises:
        InputError: no pair at all, or none for one of the splits.
    """
    described, repeated = [], RepeatedPairs()
    for number in range(count):
        described.append(block := blocks.describe(number))
        for keys in block.pop("pairs", ()):  # of all blocks at once they would fill the memory
            repeated.add(PairKeys(*keys))
    skips = [*left_out, *(Skip(**skip) for block in described for skip in block["skips"])]
    rows = sum(block["rows"] for block in described)
    notes = sum_counts(block.get("notes", {}) for block in described)
    changed = dict(sorted(sum_counts(block.get("changed", {}) for block in described).items()))
    images = sum_counts(block.get("images", {}) for block in described)
    if rows == 0:
        raise _no_pair(source["id"], splits.name, skips)
    masks = splits.masks([keys for block in described for keys in block.get("keys", ())])
    files = merge(blocks, count, run.path / "data", masks)
    tries, kept = made_by.builder.tries(made_by.settings), made_by.builder.needs_pairs
    report = build_report(run.path / "data", list(masks), skips, *tries, kept=kept)
    served, notes = _server(made_by.endpoint, notes)
    said, notes = made_by.builder.report(notes)
    report |= {**said, **run.pinned(PILOT).get("report", {}), **({POOL: sizes} if (sizes := run.pinned(POOL)) else {})}
    report |= {"notes": notes} if notes else {}
    report |= {"changed": changed} if changed else {}
    report |= {"repeated": counts} if (counts := repeated.counts()) else {}
    report["warnings"] += [*repeated_warnings(counts, rows), *_metadata_warnings(images, changed)]
    write_atomic(run.path / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    first = {
        reason: (entry["first"][0]["id"], brief(entry["first"][0]["detail"]))
        for reason, entry in report["skipped"].items()
    }
    log_skips(rows, _counted(skips), first)
    for warning in report["warnings"]:
        logger.warning("Warning: %s", warning)
    plot(report, run.path / PICTURE)
    write_missing_images(run, skips)
    pin_named_images(run, blocks.named_images())
    pinned, model, annotator = run.pinned("model"), made_by.model, made_by.annotator
    settings = recipes.as_plain(made_by.settings)
    facts = {
        "model": {"id": model.model, "revision": pinned.get("revision") or model.revision} if model else None,
        **({"adapter": pinned.get("adapter")} if model and model.adapter else {}),
        **({"server": served} if served else {}),
        "source": source,
        "method": made_by.method,
        "counts": {"rows": rows, "skipped": _counted(skips), **({"changed": changed} if changed else {})},
        **({"masking": report["masking"]} if "masking" in report else {}),
        "length_ratio": report["length_bias"]["ratio"],
        **made_by.builder.answer_facts,
        **(sampling_facts(settings, {} if served else pinned.get("generation")) if model else {}),
        **({"splits": _rows_of(files, masks)} if splits.validation else {}),
        **({"annotator": {"name": annotator, **notes}} if annotator else {"notes": notes}),
        "data": files,
        **embedder_facts(run, EMBEDDERS),
        **annotator_facts(run, ASKED),
        "excluded": run.pinned("excluded").get("tables", []),
        "seeds": {"run": made_by.seed},
        "threads": pinned.get("threads"),
        "family": {
            "name": pinned.get("family"),
            "probe": pinned.get("probe"),
            **({"mended": pinned["mended"]} if pinned.get("mended") else {}),
        }
        if model and not served
        else None,
    }
    run.finish(facts, write_card)


def _metadata_warnings(images: Mapping[str, float], changed: Mapping[str, float]) -> list[str]:
    """What the images of the pairs still carry beside their pixels.

    Args:
        images: how many there are, and how many say where they were taken.
        changed: rows by what was changed of them.
    """
    left = int(changed.get(METADATA_LEFT, 0))
    rows = counted(left, "row has images", "rows have images")
    kept = f"{rows} that are no whole JPEG, PNG or WebP files. Save them as one of these: their metadata was left in."
    told = positions_told(int(images.get("with_position", 0)), int(images.get("all", 0)))
    return [*told, *([kept] if left else [])]


def _server(endpoint: tuple[str, str] | None, notes: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, float]]:
    """What the manifest says of the server that the model is behind, nothing where there is none; and other notes."""
    if endpoint is None:
        return {}, dict(notes)
    counts = {name.removeprefix(PREFIX): count for name, count in notes.items() if name.startswith(PREFIX)}
    rest = {name: count for name, count in notes.items() if not name.startswith(PREFIX)}
    return {"url": endpoint[0], "model": endpoint[1], **counts}, rest


def _rows_of(files: Sequence[Mapping[str, Any]], splits: Iterable[str]) -> dict[str, int]:
    return {
        split: sum(file["rows"] for file in files if Path(file["path"]).name.startswith(f"{split}-"))
        for split in splits
    }


def _no_pair(source: str, split: str, skips: Sequence[Skip]) -> InputError:
    """What to say where every row was skipped: the reasons, and what was wrong with the first that tells."""
    reasons = ", ".join(f"{reason}: {count}" for reason, count in _counted(skips).items())
    missing = next((skip for skip in skips if skip.reason == MISSING), None)
    explained = missing or next((skip for skip in skips if skip.detail), None)
    message, hint = f"No row of {source} ({split}) could be used ({reasons}).", ""
    if explained and explained.reason == MISSING:
        message += f" There is no image file {brief(explained.detail)!r}."
        hint = "Name the folder that paths are relative to with --image-root."
    elif explained:
        message += f" Row {brief(explained.id)}: {explained.detail.rstrip('.')}."
        hint = NAME_IMAGES if explained.reason == NO_IMAGE else HINTS.get(explained.reason, "")
    return InputError(message, hint)


def _counted(skips: Iterable[Skip]) -> dict[str, int]:
    return dict(sorted(Counter(skip.reason for skip in skips).items()))
