"""The end of a build: blocks to shards, report, picture, card and manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.data.builder import BUILDERS
from mmpref.data.open_source import source_facts, write_missing
from mmpref.data.plot import PICTURE, plot
from mmpref.data.shards import Blocks, merge
from mmpref.data.sources import MISSING
from mmpref.data.stats import build_report
from mmpref.data.validation_split import VALIDATION, held_out
from mmpref.errors import InputError, brief
from mmpref.log import logger
from mmpref.run.directory import Run
from mmpref.run.files import write_atomic
from mmpref.sampling.settings import sampling_facts
from mmpref.tables.table import Table
from mmpref.types import Skip

if TYPE_CHECKING:
    from mmpref.data.recipe import BuildRecipe


def finish(
    run: Run,
    recipe: BuildRecipe,
    tables: Sequence[Table],
    left_out: Sequence[Skip],
    count: int,
    write_card: Callable[[Path, dict[str, Any]], None] | None,
) -> None:
    """Merge the blocks and write all that a finished build has; the manifest last.

    Args:
        left_out: rows that the selection left out.
        count: of blocks.
        write_card: writes ``README.md`` from the directory and the manifest's facts.

    Raises:
        InputError: no pair at all, or none for one of the splits.
    """
    blocks = Blocks(run.state)
    skips = [*left_out, *(Skip(**skip) for number in range(count) for skip in blocks.describe(number)["skips"])]
    rows = sum(blocks.describe(number)["rows"] for number in range(count))
    notes = _summed(blocks.describe(number).get("notes", {}) for number in range(count))
    changed = {
        name: int(rows)
        for name, rows in sorted(_summed(blocks.describe(number).get("changed", {}) for number in range(count)).items())
    }
    if rows == 0:
        raise _no_pair(source_facts(tables)["id"], recipe.split, skips)
    # Temporary files of a process that was killed while it wrote.
    for stale in (*run.path.glob(".*.tmp"), *run.state.glob(".*.tmp")):
        stale.unlink(missing_ok=True)
    splits = _splits(recipe, blocks, count)
    files = merge(blocks, count, run.path / "data", splits)
    report = build_report(
        run.path / "data",
        list(splits),
        skips,
        int(recipe.builder.get("iterations", 1)),
        recipe.builder.get("similarity_threshold"),
    )
    report |= {"notes": notes} if notes else {}
    report |= {"changed": changed} if changed else {}
    write_atomic(run.path / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    for warning in report["warnings"]:
        logger.warning("Warning: %s", warning)
    plot(report, run.path / PICTURE)
    write_missing(run.path, skips)
    model = run.pinned("model")
    facts = {
        "model": {"id": recipe.model, "revision": model.get("revision") or recipe.revision} if recipe.model else None,
        "source": source_facts(tables),
        "method": recipe.method,
        "counts": {"rows": rows, "skipped": _counted(skips), **({"changed": changed} if changed else {})},
        "length_ratio": report["length_bias"]["ratio"],
        "written": _written(recipe),
        **(sampling_facts(recipe.builder, model.get("generation")) if recipe.model else {}),
        **({"splits": _rows_of(files, splits)} if recipe.validation else {}),
        **({"annotator": {"name": recipe.annotator, **notes}} if recipe.annotator else {"notes": notes}),
        "data": files,
        "excluded": run.pinned("excluded").get("tables", []),
        "seeds": {"run": recipe.seed},
        "threads": model.get("threads"),
        "family": {
            "name": model.get("family"),
            "probe": model.get("probe"),
            **({"mended": model["mended"]} if model.get("mended") else {}),
        }
        if recipe.model
        else None,
    }
    if write_card:
        write_card(
            run.path, {"command": run.command, "recipe": dict(run.recipe), "recipe_hash": run.recipe_hash, **facts}
        )
    run.finish(facts)


def _splits(recipe: BuildRecipe, blocks: Blocks, count: int) -> dict[str, list[bool] | None]:
    """The dataset's splits: which of all rows each has, None for all.

    Raises:
        InputError: nothing is left for one of them.
    """
    if recipe.validation is None:
        return {recipe.split: None}
    keys = [row for number in range(count) for row in blocks.describe(number)["keys"]]
    held = held_out(keys, recipe.validation, recipe.seed)
    if all(held) or not any(held):
        raise InputError(
            f"With validation {recipe.validation}, {sum(held)} of {len(held)} rows are held out.",
            "Use more rows, another share or another seed.",
        )
    return {recipe.split: [not one for one in held], VALIDATION: held}


def _rows_of(files: Sequence[Mapping[str, Any]], splits: Iterable[str]) -> dict[str, int]:
    return {
        split: sum(file["rows"] for file in files if Path(file["path"]).name.startswith(f"{split}-"))
        for split in splits
    }


def _written(recipe: BuildRecipe) -> list[str]:
    """Which answers the method wrote, the source's being the others."""
    builder = BUILDERS.get(recipe.method)
    if builder.writes_chosen:
        return ["chosen", "rejected"]
    return ["rejected"] if builder.uses_model or builder.needs_annotator or not builder.needs_pairs else []


def _no_pair(source: str, split: str, skips: Sequence[Skip]) -> InputError:
    """What to say where every row was skipped: the reasons, and what was wrong with the first that tells."""
    reasons = ", ".join(f"{reason}: {count}" for reason, count in _counted(skips).items())
    missing = next((skip for skip in skips if skip.reason == MISSING), None)
    told = missing or next((skip for skip in skips if skip.detail), None)
    message, hint = f"No row of {source} ({split}) could be used ({reasons}).", ""
    if told and told.reason == MISSING:
        message += f" There is no image file {brief(told.detail)!r}."
        hint = "Name the folder that paths are relative to with --image-root."
    elif told:
        message += f" Row {brief(told.id)}: {told.detail.rstrip('.')}."
    return InputError(message, hint)


def _counted(skips: Iterable[Skip]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for skip in skips:
        counts[skip.reason] = counts.get(skip.reason, 0) + 1
    return dict(sorted(counts.items()))


def _summed(notes: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for block in notes:
        for name, value in block.items():
            total[name] = total.get(name, 0) + value
    return total


def _asked(annotator: Mapping[str, Any]) -> str:
    """Who was asked, what came of it, and what it took."""
    shown = [
        f"{value:,.0f} {name.replace('_', ' ')}"
        for name, value in annotator.items()
        if isinstance(value, int | float) and value and name not in ("named", "named_first", "cost")
    ]
    if annotator.get("named"):
        shown.append(f"{annotator['named_first'] / annotator['named']:.0%} name the response shown first")
    if "cost" in annotator:
        shown.append(f"cost {annotator['cost']:g}")
    return f"{annotator['name']}: {', '.join(shown)}" if shown else str(annotator["name"])


def summary(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The result as lines of a table."""
    counts = manifest["counts"]
    skipped = ", ".join(f"{n} {reason}" for reason, n in counts["skipped"].items()) or "none"
    pairs = str(counts["rows"])
    if splits := manifest.get("splits"):
        pairs += f" ({', '.join(f'{rows} {split}' for split, rows in splits.items())})"
    asked = [("annotator", _asked(manifest["annotator"]))] if manifest.get("annotator") else []
    changed = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.get("changed", {}).items())
    noted = [(name.replace("_", " "), f"{count:,.0f}") for name, count in manifest.get("notes", {}).items() if count]
    ratio = manifest.get("length_ratio")
    lengths = [("length of rejected answers over chosen ones", f"{ratio:.3f}")] if ratio is not None else []
    return [
        *asked,
        ("pairs", pairs),
        ("skipped rows", skipped),
        *([("rows changed", changed)] if changed else []),
        *noted,
        *lengths,
        ("seconds", str(manifest["seconds"])),
    ]
