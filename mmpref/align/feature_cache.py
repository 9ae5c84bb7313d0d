"""A cache on disk of what the frozen vision tower makes of the images of rows: the same in every epoch."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmpref.log import counted, logger
from mmpref.run.files import write_atomic

if TYPE_CHECKING:
    from mmpref.vlm.vision_tower import Features

GIGABYTE = 10**9


class FeatureCache:
    """Features of the images of rows, made when a row is first met, one row at a time whatever the batch is.

    They belong to a run: its base model and data cannot change under it. A restart finds what was made before.

    Args:
        path: file of the features, one row's behind another's. Beside it, in ``.jsonl``, stands where each one is; its
            line is written last.
        budget: bytes that it may take.
    """

    def __init__(self, path: Path, budget: float) -> None:
        self._path, self._index, self._budget = path, path.with_suffix(".jsonl"), budget
        self._full = False
        entries = []
        if self._index.is_file():
            content = self._index.read_text(encoding="utf-8")
            lines = content[: content.rfind("\n") + 1]
            if lines != content:
                write_atomic(self._index, lines)
            entries = [json.loads(line) for line in lines.splitlines()]
        self._entries: dict[int, dict[str, Any]] = {entry["row"]: entry for entry in entries}
        self._size = max((entry["begin"] + entry["bytes"] for entry in entries), default=0)
        with open(path, "ab") as file:
            file.truncate(self._size)  # what a kill left without its line

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether the run has cached features there before."""
        return path.with_suffix(".jsonl").is_file()

    def get(self, rows: Sequence[int], compute: Callable[[int], Features]) -> list[Features]:
        """Features of the rows of a batch; none where those of a row are not there and cannot be cached.

        Args:
            compute: runs the tower on the images of one row; called only where a row is new.
        """
        features = []
        for row in rows:
            if row in self._entries:
                features.append(self._read(self._entries[row]))
            elif self._full:
                return []
            else:
                features.append(self._store(row, compute(row)))
        return features

    def _store(self, row: int, features: Features) -> Features:
        features = [feature.detach().to("cpu").contiguous() for feature in features]
        content = b"".join(feature.view(torch.uint8).numpy().tobytes() for feature in features)
        entry = {
            "row": row,
            "begin": self._size,
            "bytes": len(content),
            "shapes": [list(feature.shape) for feature in features],
            "dtype": str(features[0].dtype).removeprefix("torch."),
        }
        if self._size + len(content) > self._budget:
            self._stop_caching("feature_cache_gb is reached")
            return features
        try:
            with open(self._path, "r+b") as file:
                file.seek(self._size)
                file.write(content)
            with open(self._index, "a", encoding="utf-8") as index:
                index.write(json.dumps(entry) + "\n")
        except OSError as error:
            self._stop_caching(f"{self._path}: {error.strerror}")
            with contextlib.suppress(OSError):
                os.truncate(self._path, self._size)  # on a full disk others need the room
        else:
            self._entries[row] = entry
            self._size += len(content)
        return features

    def _stop_caching(self, reason: str) -> None:
        logger.warning(
            "Warning: image features of %s are kept, and no more (%s): the vision tower runs for batches "
            "with other rows.",
            counted(len(self._entries), "row"),
            reason,
        )
        self._full = True

    def _read(self, entry: dict[str, Any]) -> Features:
        dtype = getattr(torch, entry["dtype"])
        with open(self._path, "rb") as file:
            file.seek(entry["begin"])
            flat = torch.frombuffer(bytearray(file.read(entry["bytes"])), dtype=dtype)
        shapes = entry["shapes"]
        parts = flat.split([math.prod(shape) for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def fits_cache(features: Features, rows: int, budget: float, folder: Path) -> bool:
    """Whether the features of all rows would fit into the budget and on the disk, as far as one row tells; says so
    where they do not.

    Args:
        features: of one row.
        budget: bytes.
    """
    needed = rows * sum(feature.numel() * feature.element_size() for feature in features)
    free = shutil.disk_usage(folder).free
    if needed <= budget and needed <= free // 2:
        logger.info("Image features are kept on disk from the first epoch on, some %s.", _size(needed))
        return True
    reason = (
        f"feature_cache_gb is {budget / GIGABYTE:g}; set it to {math.ceil(needed / GIGABYTE)} to keep them"
        if needed > budget
        else f"{_size(free)} are free"
    )
    logger.info(
        "Image features of all rows would take %s, so the vision tower runs in every epoch (%s).", _size(needed), reason
    )
    return False


def _size(count: float) -> str:
    return f"{count / GIGABYTE:.1f} GB" if count >= GIGABYTE else f"{count / 10**6:.1f} MB"
