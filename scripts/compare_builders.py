"""What each method's rejected answers are like: python scripts/compare_builders.py [--pairs N] [--json].

Every method that makes its own rejected answers builds pairs from the testbed's SFT set, whose scenes are known; the
first N pairs are looked at. `false` is the share of named things in rejected captions that the scene does not hold, and
`wrong claims` that of whole claims (colour, shape and place) of which anything is wrong; the chosen answers have none.
`captions` is the share of rejected answers to caption prompts that are well-formed captions, whatever they claim.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow.parquet as pq

from mmpref.data.stats import differing_share
from mmpref.testbed.language import CAPTION_PROMPTS
from mmpref.testbed.oracle import is_caption, judge, scene_of

ARMS: dict[str, Sequence[str]] = {
    "bdhs": (),
    "bdhs, image noise": ("--noise-steps", "500"),
    "masking": ("--method", "masking"),
    "povid-distortion": ("--method", "povid-distortion"),
    "povid-distortion, pixels": ("--method", "povid-distortion", "--set", "builder.noise_space=pixel"),
    "seva": ("--method", "seva"),
    "stic": ("--method", "stic"),
    "candidates": ("--method", "candidates", "--set", "builder.temperature=1"),
    "claims": ("--method", "claims", "--set", "builder.temperature=1"),
    "corrupt": ("--method", "corrupt"),
    "other-image": ("--method", "other-image"),
    "same-kind": ("--method", "same-kind"),
    "mismatched": ("--method", "mismatched"),
    "gibberish": ("--method", "gibberish"),
    "gibberish, random": ("--method", "gibberish", "--set", "builder.words=random"),
    "gibberish, repeated": ("--method", "gibberish", "--set", "builder.words=repeated"),
}
COLUMNS = {
    "pairs": "pairs",
    "used": "rows that give a pair",
    "differs": "words that differ",
    "length": "length ratio",
    "similarity": "similarity",
    "captions": "captions",
    "false": "false",
    "wrong": "wrong claims",
}


def rows_of(arguments: Sequence[str], limit: int) -> tuple[list[dict[str, Any]], float]:
    """The pairs of a build, and the share of rows that gave one."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mmpref", "build-dataset", "--limit", str(limit), "--output", f"{folder}/run"]
        subprocess.run([*command, *arguments], check=True, capture_output=True)
        columns = ["prompt", "chosen", "rejected", "similarity", "id"]
        rows = [
            row
            for file in sorted(Path(folder, "run/data").glob("*.parquet"))
            for row in pq.read_table(file, columns=columns).to_pylist()
        ]
    return rows, len(rows) / limit


def described(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    texts = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]
    captions = [
        (row["rejected"][0]["content"], scene_of(row["id"]))
        for row in rows
        if row["prompt"][0]["content"] in CAPTION_PROMPTS
    ]
    verdicts = [(judge(text, scene), text) for text, scene in captions]
    mentioned = sum(len(verdict.mentioned) for verdict, _ in verdicts)
    claims = sum(text.count(" is in the ") for _, text in verdicts)
    known = [row["similarity"] for row in rows if row["similarity"] is not None]
    return {
        "pairs": len(rows),
        "differs": sum(differing_share(*pair) for pair in texts) / len(texts),
        "length": sum(len(rejected) / len(chosen) for chosen, rejected in texts) / len(texts),
        "similarity": sum(known) / len(known) if known else None,
        "captions": sum(is_caption(text) for text, _ in captions) / len(captions),
        "false": sum(len(verdict.hallucinated) for verdict, _ in verdicts) / mentioned,
        "wrong": sum(len(verdict.false_claims) for verdict, _ in verdicts) / claims,
    }


def shown(found: dict[str, dict[str, float | None]]) -> Iterator[str]:
    yield "| method | " + " | ".join(COLUMNS.values()) + " |"
    yield "| --- " * (len(COLUMNS) + 1) + "|"
    for name, row in found.items():
        values = [
            "–" if row[key] is None else f"{row[key]:.0f}" if key == "pairs" else f"{row[key]:.2f}" for key in COLUMNS
        ]
        yield f"| {name} | " + " | ".join(values) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200, help="pairs of each method that are looked at")
    parser.add_argument("--limit", type=int, default=2400, help="rows of the testbed that are built from")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found: dict[str, dict[str, float | None]] = {}
    for name, arguments in ARMS.items():
        rows, used = rows_of(arguments, options.limit)
        found[name] = {**described(rows[: options.pairs]), "used": used}
        print(f"{name}: {len(rows)} pairs", file=sys.stderr)
    print(json.dumps(found, indent=2) if options.json else "\n".join(shown(found)))


if __name__ == "__main__":
    main()
