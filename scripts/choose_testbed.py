"""How the testbed's training settings were chosen, on dev: python scripts/choose_testbed.py [FOLDER] [--record].

Trains every candidate on the same BDHS pairs and evaluates it on the dev split. Chosen is the candidate with the lowest
CHAIR_i among those that lose at most 6 points of recall; the test split is not looked at. Runs are kept in FOLDER, so
that a second call goes on. With --record the table becomes scripts/choose_testbed.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RECORD = Path(__file__).with_name("choose_testbed.json")
CANDIDATES = [(1e-4, 1), (1e-4, 2), (3e-4, 1), (3e-4, 2)]
"""Learning rate and epochs."""
SHOWN = (("chair", "chair_i"), ("chair", "recall"), ("chair", "words"), ("pope", "accuracy"))
RECALL_LOSS = 0.06


def mmpref(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "mmpref", *arguments], check=True, stdout=subprocess.DEVNULL)


def measured(folder: Path, pairs: Path, rate: float, epochs: int) -> dict[str, Any]:
    """Differences to the base on the dev split, with intervals."""
    name = f"lr{rate:g}-epochs{epochs}"
    adapter, scores = folder / f"train-{name}", folder / f"dev-{name}"
    mmpref(
        "train",
        "--dataset",
        str(pairs),
        "--output",
        str(adapter),
        "--set",
        f"trainer.learning_rate={rate}",
        "--set",
        f"trainer.num_train_epochs={epochs}",
    )
    mmpref("evaluate", "--adapter", str(adapter), "--split", "dev", "--output", str(scores))
    rows = json.loads((scores / "results.json").read_text())["differences"]
    found = {(row["benchmark"], row["metric"]): row for row in rows if row["split"] == "all"}
    return {"learning_rate": rate, "epochs": epochs} | {
        f"{benchmark} {metric}": [round(found[benchmark, metric][end], 4) for end in ("value", "low", "high")]
        for benchmark, metric in SHOWN
    }


def main() -> None:
    places = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    folder = Path(places[0] if places else "runs/choose-testbed")
    pairs = folder / "pairs"
    mmpref("build-dataset", "--output", str(pairs))
    table = [measured(folder, pairs, rate, epochs) for rate, epochs in CANDIDATES]
    allowed = [row for row in table if row["chair recall"][0] >= -RECALL_LOSS]
    chosen = min(allowed, key=lambda row: row["chair chair_i"][0], default=None)
    result = {"split": "dev", "difference to the base: value, low, high": table, "chosen": chosen}
    print(json.dumps(result, indent=2))
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
