"""Small files in the shape of each benchmark's published rows, with real images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe

from ..conftest import MODEL, png

COLOURS = ("red", "blue", "green", "white", "black", "yellow")


def cell(number: int) -> dict[str, Any]:
    return {"bytes": png(COLOURS[number % len(COLOURS)]), "path": None}


def write_parquet(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def run(benchmark: str, settings: dict[str, Any], output: Path, **changes: Any) -> dict[str, Any]:
    """Evaluate the shipped model on one benchmark; its manifest."""
    block = {"max_new_tokens": 4, **settings}
    return evaluate(EvaluateRecipe(MODEL, (benchmark,), benchmark={benchmark: block}, **changes), output)


def values(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["metric"], row["split"]): row for row in found["results"]}


def records(output: Path, benchmark: str) -> list[dict[str, Any]]:
    rows = pq.read_table(output / f"samples/base-{benchmark}.parquet").to_pylist()
    return [{**row, "counts": json.loads(row["counts"]), "reference": json.loads(row["reference"])} for row in rows]


@pytest.fixture
def textvqa_rows() -> list[dict[str, Any]]:
    """FACTS.md B.1, TextVQA: lmms-lab-encoder/textvqa, validation."""
    return [
        {
            "image_id": f"003a8ae2ef43b90{i}",
            "question_id": 34602 + i,
            "question": "what is the brand of this IBM?",
            "question_tokens": ["what", "is"],
            "image": cell(i),
            "image_width": 64,
            "image_height": 48,
            "flickr_original_url": "",
            "flickr_300k_url": "",
            "answers": ["dakota"] * 8 + ["Dakota digital", "unanswerable"],
            "image_classes": ["Camera"],
            "set_name": "val",
            "ocr_tokens": ["ROLEI", "DAKOTA"],
        }
        for i in range(3)
    ]


@pytest.fixture
def mme_rows() -> list[dict[str, Any]]:
    """FACTS.md B.1 and B.9, MME: lmms-lab-encoder/MME, test; two rows an image."""
    return [
        {
            "question_id": f"{category}/000{i}.png",
            "image": cell(i),
            "category": category,
            "answer": answer,
            "question": f"Is there a cup in the image? Please answer yes or no. {i}",
        }
        for category in ("existence", "OCR")
        for i in range(2)
        for answer in ("Yes", "No")
    ]
