"""Peak memory of a build against the number of rows: python scripts/bench_memory.py [--rows 1000 20000] [--json].

Builds BDHS data of so many rows (the testbed's, repeated under new ids, in one Parquet file) with short tails and one
try, each in a process of its own, and compares the peaks of resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmpref.tables.open import open_table

FAST = ["--iterations", "1", "--rho-th", "1", "--set", "builder.max_tail_tokens=2"]


def write_rows(path: Path, count: int) -> None:
    """Rows of the testbed, again and again, with ids of their own; written in pieces."""

    def rows() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(islice(cycle(list(open_table("testbed"))), count)):
            yield {
                "id": f"row-{number}",
                "image": row["images"][0],
                "question": row["prompt"][0]["content"],
                "answer": row["completion"][0]["content"],
            }

    waiting = rows()
    first = pa.Table.from_pylist(list(islice(waiting, 100)))
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        while piece := list(islice(waiting, 500)):
            writer.write_table(pa.Table.from_pylist(piece, schema=first.schema))


def peak(folder: Path, count: int) -> dict[str, float]:
    """MB of resident memory at the most, and seconds, of one build."""
    source = folder / f"{count}.parquet"
    write_rows(source, count)
    command = ["build-dataset", "--source", str(source), "--limit", str(count), "--output", str(folder / str(count))]
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "mmpref", *command, *FAST], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"Error: the build of {count} rows failed.")
    return {"rows": count, "peak_mb": usage.ru_maxrss / 1024, "seconds": time.monotonic() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [peak(Path(folder), count) for count in options.rows]
    result = {"builds": found, "ratio": max(row["peak_mb"] for row in found) / min(row["peak_mb"] for row in found)}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for row in found:
        print(f"{row['rows']:8.0f} rows: {row['peak_mb']:8.1f} MB, {row['seconds']:6.1f} s")
    print(f"largest over smallest: {result['ratio']:.3f}")


if __name__ == "__main__":
    main()
