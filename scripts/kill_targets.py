"""What is killed: commands on the testbed at a tiny scale, and what a finished one has left behind."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tests.hub.server import HubServer

USER = "someone"
SMALL = {
    "build-dataset": ["--limit", "6", "--set", "block_size=2", "--set", "builder.iterations=2"],
    "train": [
        *("--set", "trainer.max_steps=4", "--set", "trainer.save_steps=1", "--set", "trainer.logging_steps=1"),
        *("--set", "trainer.per_device_train_batch_size=2", "--set", "lora.r=4"),
    ],
    "evaluate": [
        *("--benchmark", "chair", "--limit", "6", "--batch-size", "2"),
        *("--set", "benchmark.chair.max_new_tokens=24"),
    ],
}


@dataclass(frozen=True)
class Left:
    """What a finished command has left behind.

    Args:
        files: by name what a file holds, as a hash; of what is only for restarts, nothing but the name.
        items: rows, steps, answers or commits, and how often each is there.
    """

    files: Mapping[str, str]
    items: Counter[str]


class Target(Protocol):
    """A command in a folder."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Make what is there before the command begins."""

    def arguments(self, folder: Path) -> list[str]:
        """The command line; always the same in a folder."""
        ...

    def left(self, folder: Path) -> Left:
        """What it has left behind, once it has finished."""
        ...


@dataclass(frozen=True)
class RunTarget:
    """build-dataset, train or evaluate.

    Args:
        inputs: further arguments: the run that it goes on from.
    """

    name: str
    inputs: tuple[str, ...] = ()

    def prepare(self, folder: Path) -> None:
        """Nothing: the folder is empty."""

    def arguments(self, folder: Path) -> list[str]:
        return [self.name, *SMALL[self.name], *self.inputs, "--output", str(folder / "run")]

    def left(self, folder: Path) -> Left:
        run = folder / "run"
        files = {file.relative_to(run).as_posix(): file for file in run.rglob("*") if file.is_file()}
        items = {"build-dataset": _row_ids, "train": _steps, "evaluate": _sample_ids}[self.name](run)
        return Left({name: "" if name.startswith(".mmpref/") else _hash(file) for name, file in files.items()}, items)


@dataclass(frozen=True)
class PublishTarget:
    """publish, of the finished run of one of the three commands, to the test Hub.

    Args:
        run: is copied, so that each publication begins with one that was never published.
        kind, repo: where it goes.
        before: what the Hub has of that repository beforehand.
    """

    name: str
    hub: HubServer
    run: Path
    kind: str
    repo: str
    before: Any = None

    def prepare(self, folder: Path) -> None:
        shutil.copytree(self.run, folder / "run")
        (folder / "run/.mmpref/published.json").unlink(missing_ok=True)
        self.hub.store.repos.clear()
        if self.before:
            self.hub.store.repos[self.kind, self.repo] = copy.deepcopy(self.before)

    def arguments(self, folder: Path) -> list[str]:
        return ["publish", str(folder / "run"), f"--hub-{self.kind}-id", self.repo]

    def left(self, folder: Path) -> Left:
        repo = self.hub.repo(self.kind, self.repo)
        tree = {path: entry.sha256 or entry.oid for path, entry in self.hub.tree(self.kind, self.repo).items()}
        tree.pop("NOTES.md", None)  # somebody else's
        history = repo.history("main")
        items = Counter(f"commit: {commit.title}" for commit in history if commit.author != "somebody")
        items["tags"] = sum(ref.startswith("refs/tags/") for ref in repo.refs)
        items["pull requests"] = len(repo.pulls)
        ours = {commit.id for commit in history if commit.author != "somebody"}
        for entry in json.loads((folder / "run/.mmpref/published.json").read_text()):
            items["recorded" if entry["commit"] in ours and entry["tag"] else "recorded wrongly"] += 1
        return Left(tree, items)


def publish_targets(hub: HubServer, runs: Mapping[str, Path]) -> list[PublishTarget]:
    """The data, and the adapter."""
    data = PublishTarget("publish data", hub, runs["build-dataset"], "dataset", f"{USER}/pairs")
    adapter = PublishTarget("publish adapter", hub, runs["train"], "model", f"{USER}/adapter")
    return [data, adapter]


def publish_results(hub: HubServer, runs: Mapping[str, Path]) -> PublishTarget:
    """Results, which go into the card of the adapter that the Hub has now."""
    repo = f"{USER}/adapter"
    before = copy.deepcopy(hub.repo("model", repo))
    return PublishTarget("publish results", hub, runs["evaluate"], "model", repo, before)


def differences(left: Left, wanted: Left) -> dict[str, list[str]]:
    """``lost`` and ``doubled`` items, and names of files that ``differ``, lack or are too many."""
    names = sorted(left.files.keys() | wanted.files.keys())
    return {
        "lost": sorted((wanted.items - left.items).elements()),
        "doubled": sorted((left.items - wanted.items).elements()),
        "differing": [name for name in names if left.files.get(name) != wanted.files.get(name)],
    }


def _hash(file: Path) -> str:
    content = file.read_bytes()
    if file.name == "run.json":  # how long it took is no result
        content = json.dumps({**json.loads(content), "seconds": None}).encode()
    return hashlib.sha256(content).hexdigest()


def _row_ids(run: Path) -> Counter[str]:
    import pyarrow.parquet as pq

    return Counter(pq.read_table(run / "data", columns=["id"]).column("id").to_pylist())


def _steps(run: Path) -> Counter[str]:
    return Counter(f"step {json.loads(line)['step']}" for line in (run / "log.jsonl").read_text().splitlines())


def _sample_ids(run: Path) -> Counter[str]:
    import pyarrow.parquet as pq

    files = sorted((run / "samples").glob("*.parquet"))
    return Counter(f"{file.stem} {name}" for file in files for name in pq.read_table(file).column("id").to_pylist())
