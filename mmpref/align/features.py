"""What the frozen vision tower makes of the images of rows, kept on disk: the same in every epoch."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from mmpref.vlm.tower import Features

talk = logging.getLogger("mmpref")
GIGABYTE = 10**9


class KeptFeatures:
    """Features of the images of every row, made when a row is first met, one row at a time whatever the batch is.

    They belong to a run: its base model and data cannot change under it. A restart finds what was made before.

    Args:
        path: file of the features, one row's behind another's. Beside it, in ``.jsonl``, stands where each one is; its
            line is written last.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._index = path, path.with_suffix(".jsonl")
        self._places: dict[int, dict[str, Any]] = {}
        self._full = False
        lines = self._index.read_text(encoding="utf-8").splitlines(keepends=True) if self._index.is_file() else []
        for line in lines:
            if line.endswith("\n"):
                place = json.loads(line)
                self._places[place["row"]] = place
        self._index.write_text("".join(line for line in lines if line.endswith("\n")), encoding="utf-8")
        self._size = max((place["begin"] + place["bytes"] for place in self._places.values()), default=0)
        with open(path, "ab") as file:  # cut what a kill left without its line
            file.truncate(self._size)

    def of(self, rows: Sequence[int], make: Callable[[int], Features]) -> list[Features]:
        """Features of the rows of a batch.

        Args:
            make: runs the tower on the images of one row; called only where a row is new.
        """
        return [self._read(self._places[row]) if row in self._places else self._made(row, make(row)) for row in rows]

    def _made(self, row: int, features: Features) -> Features:
        features = [feature.detach().to("cpu").contiguous() for feature in features]
        content = b"".join(feature.view(torch.uint8).numpy().tobytes() for feature in features)
        place = {"row": row, "begin": self._size, "bytes": len(content),
                 "shapes": [list(feature.shape) for feature in features],
                 "dtype": str(features[0].dtype).removeprefix("torch.")}  # fmt: skip
        if not self._full:
            try:
                with open(self._path, "r+b") as file:
                    file.seek(self._size)
                    file.write(content)
                with open(self._index, "a", encoding="utf-8") as index:
                    index.write(json.dumps(place) + "\n")
            except OSError as error:
                talk.warning("Warning: no more image features are kept: %s (%s).", self._path, error.strerror)
                self._full = True
            else:
                self._places[row] = place
                self._size += len(content)
        return features

    def _read(self, place: dict[str, Any]) -> Features:
        dtype = getattr(torch, place["dtype"])
        with open(self._path, "rb") as file:
            file.seek(place["begin"])
            flat = torch.frombuffer(bytearray(file.read(place["bytes"])), dtype=dtype)
        shapes = place["shapes"]
        parts = flat.split([math.prod(shape) for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def worth_keeping(features: Features, rows: int, budget: float, folder: Path) -> bool:
    """Whether the features of all rows fit into the budget and on the disk; says so where they do not.

    Args:
        features: of one row.
        budget: gigabytes.
    """
    need = rows * sum(feature.numel() * feature.element_size() for feature in features)
    free = shutil.disk_usage(folder).free
    if need <= budget * GIGABYTE and need <= free // 2:
        talk.info("Image features are kept on disk from the first epoch on, up to %.1f GB.", need / GIGABYTE)
        return True
    what = (f"feature_cache_gb is {budget:g}; set it to {math.ceil(need / GIGABYTE)} to keep them"
            if need > budget * GIGABYTE else f"{free / GIGABYTE:.1f} GB are free")  # fmt: skip
    talk.info("Image features of all rows would take %.1f GB, so the vision tower runs in every epoch (%s).",
              need / GIGABYTE, what)  # fmt: skip
    return False
