"""Commands whose cache of the Hub is read only, in a namespace of their own: ``unshare -rm python -m
tests.cli.read_only_cache FOLDER NAMESPACE``, with the model NAMESPACE/base in ``$HF_HOME`` and NAMESPACE/other not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.small_disk import mmpref


def main(folder: Path, namespace: str) -> None:
    cache, model = os.environ["HF_HOME"], ["--model", f"{namespace}/base"]
    subprocess.run(["mount", "--bind", cache, cache], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", cache], check=True)
    built, trained, shown = (str(folder / name) for name in ("built", "trained", "shown"))
    pope = ["--benchmark", "pope", "--limit", "4", "--set", "benchmark.pope.data=testbed-pope"]
    embedder = "builder.similarity_model=pkg:mmpref.testbed/embedder"
    commands = [
        ["build-dataset", *model, "--source", "testbed", "--limit", "6", "--set", embedder, "--output", built],
        [
            *("train", *model, "--dataset", built, "--output", trained, "--set", "trainer.max_steps=1"),
            *("--set", "trainer.per_device_train_batch_size=2", "--set", "lora.r=4"),
        ],
        ["evaluate", *model, "--adapter", trained, *pope, "--output", shown],
        ["publish", built, "--hub-dataset-id", f"{namespace}/pairs"],
        ["publish", trained, "--hub-model-id", f"{namespace}/adapter"],
        ["evaluate", "--model", f"{namespace}/other", *pope, "--output", str(folder / "other")],
    ]
    print(json.dumps([[words[0], *mmpref(*words)] for words in commands]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
