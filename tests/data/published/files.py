"""Files as published sets have them: photos, JSON, Parquet with the features of its columns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((48, 40), 20 + number).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def coco(folder: Path) -> None:
    """COCO as users have it on disk: three train2014 images, and one under its 2017 name."""
    old = [f"train2014/COCO_train2014_{number:012d}.jpg" for number in (9, 25, 30)]
    for number, name in enumerate([*old, "train2017/000000000034.jpg"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(number))


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")


def parquet(folder: Path, name: str, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
    """As ``push_to_hub`` and the Hub's converter write it: with the features in the schema's metadata."""
    import datasets

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=datasets.Features(features)).to_parquet(folder / name)


def image(number: int, path: str | None = None) -> dict[str, Any]:
    return {"bytes": jpeg(number), "path": path}
