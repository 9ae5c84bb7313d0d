"""Speed and peak memory of reading preference rows: python scripts/bench_tables.py [--against CHECKOUT] [--json].

The same small rows (a picture of 20 x 20 pixels, a question, two answers) are written in every container, and read by
`open_table` and `read_row`, each time in a process of its own; seconds are the processor's. Memory is that of the
process at its most (from /proc, so this runs on Linux), and should not depend on the number of rows. With --against,
the reader of another checkout reads the same files in turn.
"""

from __future__ import annotations

import argparse
import base64
import csv
import gzip
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HERE = Path(__file__).resolve().parents[1]
READ = """
import json, pathlib, re, sys, time
try:
    from mmpref.tables.open import open_table
except ImportError:
    from mmpref.tables import open_table
try:
    from mmpref.tables.rows import read_row
except ImportError:
    from mmpref.tables.conversations import read_row
start = time.process_time()
count = sum(read_row(row, "a row").fault("chosen", "rejected") is None for row in open_table(sys.argv[1]))
seconds = time.process_time() - start
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps([count, seconds, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024]))
"""


def rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        content = io.BytesIO()
        Image.new("RGB", (20, 20), (number % 256, number // 256 % 256, 0)).save(content, "PNG")
        yield {
            "id": f"row-{number}",
            "image": {"bytes": content.getvalue(), "path": f"{number}.png"},
            "prompt": [{"role": "user", "content": f"<image>\nWhat is in picture {number}, and where does it lie?"}],
            "chosen": [{"role": "assistant", "content": f"A ring of colour {number % 256} lies on a table. " * 4}],
            "rejected": [{"role": "assistant", "content": f"A dog of age {number % 7} sits on a table. " * 4}],
        }


def as_json(count: int) -> Iterator[str]:
    for row in rows(count):
        yield json.dumps({**row, "image": base64.b64encode(row["image"]["bytes"]).decode()})


def write_jsonl(path: Path, count: int) -> None:
    with gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in as_json(count))


def write_json(path: Path, count: int) -> None:
    path.write_text(f"[{','.join(as_json(count))}]", encoding="utf-8")


def write_csv(path: Path, count: int) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["id", "image", "prompt", "chosen", "rejected"])
        table.writeheader()
        for line in as_json(count):
            row = json.loads(line)
            table.writerow({name: cell if isinstance(cell, str) else cell[0]["content"] for name, cell in row.items()})


def write_parquet(path: Path, count: int) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows(count))), path, row_group_size=1000)


def write_arrow(path: Path, count: int) -> None:
    table = pa.Table.from_pylist(list(rows(count)))
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)


def write_saved(path: Path, count: int) -> None:
    import datasets

    datasets.Dataset(pa.Table.from_pylist(list(rows(count)))).save_to_disk(path)


def write_tar(path: Path, count: int) -> None:
    with tarfile.open(path, "w") as archive:
        for number, row in enumerate(rows(count)):
            image = row.pop("image")["bytes"]
            for name, content in ((f"{number}.png", image), (f"{number}.json", json.dumps(row).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


CONTAINERS: dict[str, Callable[[Path, int], None]] = {
    "rows.jsonl": write_jsonl,
    "rows.jsonl.gz": write_jsonl,
    "rows.json": write_json,
    "rows.csv": write_csv,
    "rows.parquet": write_parquet,
    "rows.arrow": write_arrow,
    "save_to_disk": write_saved,
    "rows.tar": write_tar,
}


def measured(checkout: Path, file: Path, count: int) -> tuple[float, float]:
    """Rows a second, and MB of memory at the most."""
    env = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    # From the checkout's own folder: Python looks where it was started before it looks at PYTHONPATH.
    command = [sys.executable, "-c", READ, str(file.resolve())]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Error: {file} was not read. {done.stderr[-600:]}")
    usable, seconds, memory = json.loads(done.stdout)
    if usable != count:
        raise SystemExit(f"Error: {usable} of {count} rows of {file} can be used.")
    return count / seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 80_000], metavar="N")
    parser.add_argument("--containers", nargs="+", default=list(CONTAINERS), choices=list(CONTAINERS), metavar="NAME")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="Another checkout whose reader is timed too.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    checkouts = {"this": HERE} | ({"other": args.against.resolve()} if args.against else {})
    results = []
    for name in args.containers:
        for count in args.rows:
            with tempfile.TemporaryDirectory() as folder:
                CONTAINERS[name](Path(folder) / name, count)
                times: dict[str, list[tuple[float, float]]] = {which: [] for which in checkouts}
                for _ in range(args.repeats):
                    for which, checkout in checkouts.items():
                        times[which].append(measured(checkout, Path(folder) / name, count))
            for which, runs in times.items():
                speed, memory = (statistics.median(values) for values in zip(*runs, strict=True))
                results.append(
                    {"container": name, "rows": count, "reader": which, "rows_a_second": speed, "peak_mb": memory}
                )
                if not args.json:
                    print(f"{name:14} {count:7,} rows  {which:5} {speed:9,.0f} rows/s  {memory:6.0f} MB", flush=True)
    if args.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
