"""Checkpoints that are complete: each ends with a list of its files; one without that list counts for nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mmpref.distributed import num_processes
from mmpref.errors import RunError, is_killed_worker, is_out_of_memory
from mmpref.log import counted
from mmpref.run.files import write_atomic

COMPLETE = "complete.json"


@contextlib.contextmanager
def write_errors(what: str) -> Iterator[None]:
    """Turn a refused write into an error that a user can act on, whichever library met it.

    Raises:
        RunError: the disk is full or refuses the write.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if is_killed_worker(error) or is_out_of_memory(error):
            raise
        hint = "Make room on the disk and run the same command again: the last checkpoint is kept."
        raise RunError(f"Cannot write {what}: {' '.join(str(error).split())}.", hint) from error


def sums_file(process: int | str) -> str:
    """Of a checkpoint: what a process has summed up since the last log row.

    Args:
        process: its number; ``*`` for all of them.
    """
    return f"pending-{process}.json"


def refuse_other_processes(folder: Path) -> None:
    """Refuse to go on from a checkpoint of another number of processes: they divide rows, sums and random numbers among
    them, and steps would be of other rows than those of the schedule.

    Args:
        folder: of the checkpoints.

    Raises:
        RunError: the last complete one is of another number.
    """
    if not (complete := complete_checkpoints(folder)):
        return
    before, now = len([*complete[-1].glob(sums_file("*"))]), num_processes()
    if before and before != now:
        raise RunError(
            f"Step {step_of(complete[-1])} of this training was saved by {counted(before, 'process', 'processes')}, "
            f"and {counted(now, 'process', 'processes')} would go on: rows, log and schedule go by their number.",
            f"Start it in {before} (accelerate launch --num_processes={before}), or choose another --output.",
        )


def mark_complete(checkpoint: Path) -> None:
    """Say that everything is written: flush each file to the disk, then write the list of names and sizes."""
    sizes = {}
    for file in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
        sizes[str(file.relative_to(checkpoint))] = file.stat().st_size
    write_atomic(checkpoint / COMPLETE, json.dumps(sizes, indent=1) + "\n")


def is_complete(checkpoint: Path) -> bool:
    """Whether every file of the list is there in its full size."""
    listed = checkpoint / COMPLETE
    if not listed.is_file():
        return False
    sizes: dict[str, int] = json.loads(listed.read_text(encoding="utf-8"))
    return all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size for name, size in sizes.items()
    )


def complete_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a folder, by their steps."""
    return sorted((path for path in folder.glob("checkpoint-*") if is_complete(path)), key=step_of)


def latest_checkpoint(folder: Path) -> Path | None:
    """The last complete checkpoint, or None. Partial ones, left by a kill, are deleted."""
    complete = complete_checkpoints(folder)
    for checkpoint in {*folder.glob("checkpoint-*")} - {*complete}:
        shutil.rmtree(checkpoint)
    return complete[-1] if complete else None


def step_of(checkpoint: Path) -> int:
    """How many optimizer steps a checkpoint holds."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoints_folder(scratch: Path) -> Path:
    """Where a run keeps its checkpoints while it lasts."""
    return scratch / "checkpoints"


def keep_adapters(checkpoints: Path, run_folder: Path) -> None:
    """Copy the adapter of each complete checkpoint into the run; what names the base is the final one's."""
    for checkpoint in complete_checkpoints(checkpoints):
        weights = checkpoint / "adapter_model.safetensors"
        if weights.is_file():
            target = run_folder / "checkpoints" / checkpoint.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(weights, target / weights.name)
            shutil.copyfile(run_folder / "adapter_config.json", target / "adapter_config.json")
