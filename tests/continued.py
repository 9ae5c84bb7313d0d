"""Preference data whose answers continue a context: next sentences of the testbed's captions, true and another's."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from mmpref.sampling.sentences import split
from mmpref.tables.open import open_table


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def rows(count: int) -> list[dict[str, Any]]:
    """Every third row has no context yet: its answers are the first sentences of one."""
    captions = (row for row in open_table("testbed") if len(split(row["completion"][0]["content"])) > 2)
    made = []
    for number, (row, other) in enumerate(pairwise(captions)):
        sentences, wrong = (split(one["completion"][0]["content"]) for one in (row, other))
        place = number % 3
        context, space = "".join(sentences[:place]), " " if place else ""
        if sentences[place].strip() == wrong[place].strip():
            continue
        made.append(
            {
                "images": row["images"],
                "prompt": [*row["prompt"], *([turn("assistant", context.rstrip())] if place else [])],
                "chosen": [turn("assistant", space + sentences[place].rstrip())],
                "rejected": [turn("assistant", space + wrong[place].rstrip())],
                "id": row["id"],
            }
        )
        if len(made) == count:
            break
    return made


def write(folder: Path, count: int = 12) -> Path:
    """Such a data set, as one Parquet file."""
    import datasets

    message = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "prompt": message,
            "chosen": message,
            "rejected": message,
            "id": datasets.Value("string"),
        }
    )
    datasets.Dataset.from_list(rows(count), features=features).to_parquet(folder / "train.parquet")
    return folder / "train.parquet"
