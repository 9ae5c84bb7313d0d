"""Rows for builds by `tests.data.reverse`, and their recipe."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

from PIL import Image

from mmpref.data.recipe import BuildRecipe
from tests.forked import Forked

ROWS = 23


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((40, 40), 10 + number).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder: Path) -> Path:
    """Rows and their pictures; of three rows the picture or the answer is missing."""
    rows = []
    for number in range(ROWS):
        (folder / f"{number}.png").write_bytes(picture(number))
        answer = "One." if number == 4 else f"Number {number} has " + "word " * (number % 9) + "in it."
        value = f"<image>\nWhat is {number}?" if number % 2 else f"What is {number}?\n<image>"
        turns = [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
        rows.append({"id": f"row{number}", "image": f"{number}.png", "conversations": turns})
    del rows[7]["image"]
    rows[9]["image"] = "nowhere.png"
    rows[11]["conversations"][1]["value"] = " "
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def recipe(folder: Path, **changes: Any) -> BuildRecipe:
    values: dict[str, Any] = {
        "model": "none",
        "source": str(folder / "rows.json"),
        "method": "reverse",
        "block_size": 4,
    }
    return BuildRecipe(**{**values, **changes})


def run(source: Path, output: Path, **given: Any) -> subprocess.CompletedProcess[str]:
    what = {"model": "none", "source": str(source / "rows.json"), "method": "reverse", "block_size": 4}
    settings = {**what, **given.pop("recipe", {})}
    return begin(recipe=settings, output=str(output), **given).end()


def begin(**given: Any) -> Forked:
    return Forked("tests.data.reverse:main", [given])
