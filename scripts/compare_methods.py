"""What each training method does on the testbed: python scripts/compare_methods.py [FOLDER] [--seeds N] [--record].

Every method trains on the same 1,600 BDHS pairs (with a second rejected answer, the rule-based corruption, where it
wants two) at the settings that were chosen for DPO on BDHS pairs; the controls are SFT, and DPO on pairs of the methods
that `mmpref list datasets` calls controls, of which `reversed` are the BDHS pairs swapped. Each adapter is evaluated on
the test split against the base, paired by image. Runs are kept in FOLDER, so that a second call goes on. With --record
the table becomes scripts/compare_methods.json, from which scripts/readme_tables.py writes the README's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
RECORD = Path(__file__).with_name("compare_methods.json")
DATA: dict[str, list[str]] = {
    "bdhs": [],
    "corrupt": ["--method", "corrupt"],
    "both": ["--source", "FOLDER/data-corrupt", "--set", "keep_rejected=true"],
    "other-image": ["--method", "other-image"],
    "same-kind": ["--method", "same-kind"],
    "mismatched": ["--method", "mismatched"],
    "gibberish": ["--method", "gibberish"],
    "reversed": ["--method", "reversed", "--source", "FOLDER/data-bdhs"],
}
ARMS: dict[str, tuple[str, list[str]]] = {
    "dpo": ("bdhs", []),
    "ipo": ("bdhs", ["--method", "ipo"]),
    "slic": ("bdhs", ["--method", "slic"]),
    "mpo": ("bdhs", ["--method", "mpo"]),
    "mdpo": ("bdhs", ["--method", "mdpo"]),
    "avg-dpo": ("both", ["--method", "avg-dpo"]),
    "online-dpo, oracle": ("bdhs", ["--method", "online-dpo"]),
    "mixed-dpo, oracle": ("bdhs", ["--method", "mixed-dpo"]),
    "online-bdhs": ("bdhs", ["--method", "online-bdhs"]),
    "online-bdhs + corrupt": ("corrupt", ["--method", "online-bdhs", "--set", "loss.gamma=0.5"]),
    "povid": ("corrupt", ["--method", "povid", "--set", "loss.noise_space=pixel"]),
    "dpo on corrupt": ("corrupt", []),
    "control: sft": ("bdhs", ["--method", "sft"]),
    "control: other image": ("other-image", []),
    "control: same kind": ("same-kind", []),
    "control: mismatched": ("mismatched", []),
    "control: gibberish": ("gibberish", []),
    "control: reversed": ("reversed", []),
}
METRICS = (("chair", "chair_i"), ("chair", "recall"), ("chair", "words"), ("pope", "accuracy"))


def mmpref(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "mmpref", *words], check=True, stdout=subprocess.DEVNULL)


def measured(folder: Path, name: str, seed: int) -> dict[str, list[float]]:
    """Differences to the base on the test split: value, low and high of each metric."""
    data, words = ARMS[name]
    plain = "".join(letter if letter.isalnum() else "-" for letter in f"{name}-{seed}")
    adapter, scores = folder / f"train-{plain}", folder / f"test-{plain}"
    mmpref("train", *words, "--dataset", str(folder / f"data-{data}"), "--seed", str(seed), "--output", str(adapter))
    mmpref(
        "evaluate", "--adapter", str(adapter), "--benchmark", "chair", "--benchmark", "pope", "--output", str(scores)
    )
    rows = json.loads((scores / "results.json").read_text())["differences"]
    found = {(row["benchmark"], row["metric"]): row for row in rows if row["split"] == "all"}
    return {
        metric: [round(found[benchmark, metric][end], 4) for end in ("value", "low", "high")]
        for benchmark, metric in METRICS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/compare-methods"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    for name, words in DATA.items():
        more = [word.replace("FOLDER", str(options.folder)) for word in words]
        mmpref(
            "build-dataset",
            *more,
            *(() if "--source" in more else ("--limit", "1600")),
            "--output",
            str(options.folder / f"data-{name}"),
        )
    table: dict[str, Any] = {}
    for seed in range(options.seeds):
        for name in ARMS:
            table.setdefault(name, []).append(measured(options.folder, name, seed))
            print(name, seed, json.dumps(table[name][-1]), file=sys.stderr, flush=True)
    result = {"split": "test", "seeds": options.seeds, "difference to the base: value, low, high": table}
    print(json.dumps(result, indent=2))
    if options.record:
        RECORD.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
