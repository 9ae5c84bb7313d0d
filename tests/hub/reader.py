"""A reader of a dataset that is being published: plain huggingface_hub and datasets, in a process of its own.

    python reader.py REPO VERSIONS STOP

VERSIONS is a JSON file, {"old": {"shards": n, "rows": n}, "new": ...}; every row's id begins with its version's name.
A JSON line for each look is printed; the last look begins when the file STOP exists. A look at anything but one whole
version ends it with an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import disable_progress_bars, load_dataset
from huggingface_hub import HfApi, list_repo_files


def shards(names: list[str]) -> list[str]:
    return sorted(name for name in names if name.startswith("data/"))


def look(repo: str, versions: dict[str, dict[str, int]]) -> dict[str, str | int]:
    """What `main` holds now, by three ways: the repository's facts, a listing, and the rows that `datasets` loads."""
    info = HfApi().dataset_info(repo, files_metadata=True)
    listed = list_repo_files(repo, repo_type="dataset")
    rows = load_dataset(repo, split="train")
    seen = {str(row).split("-")[0] for row in rows["id"]}
    assert len(seen) == 1, f"rows of {seen} together"
    loaded = seen.pop()
    assert len(rows) == versions[loaded]["rows"] == rows.info.splits["train"].num_examples, (loaded, len(rows))
    for names in ([file.rfilename for file in info.siblings or ()], listed):
        found = shards(names)
        assert any(
            found == [f"data/train-{n:05d}-of-{v['shards']:05d}.parquet" for n in range(v["shards"])]
            for v in versions.values()
        ), f"a mixture of {len(found)} shards: {found}"
    return {"sha": str(info.sha), "version": loaded, "rows": len(rows)}


if __name__ == "__main__":
    disable_progress_bars()
    expected = json.loads(Path(sys.argv[2]).read_text())
    last = False
    while not last:
        last = Path(sys.argv[3]).exists()
        print(json.dumps(look(sys.argv[1], expected)), flush=True)
