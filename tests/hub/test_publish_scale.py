"""3,000 images in 120 shards: pushed over an older version, killed at every kind of moment and pushed again, while a
reader looks on."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmpref.data import shards
from mmpref.data.stats import build_report
from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.types import Example, ImageData, Message, Pair
from tests.hub.runs import dataset_run
from tests.hub.server import HubServer

READER = Path(__file__).with_name("reader.py")
OLD, NEW = (70, 10), (120, 25)
"""Shards, and rows in each."""
KILLS = (
    ("create_pull", "stall", 0),
    ("lfs_put", "hang", 40),
    ("lfs_put", "stall", 30),
    ("commit", "hang", 0),
    ("commit", "stall", 0),
    ("merge", "hang", 0),
    ("merge", "stall", 0),
)
"""Call, whether it is killed before or after the Hub has done it, and how many such calls it makes first."""


def _pairs(version: str, shard: int, rows: int) -> list[Pair]:
    """Rows with an image of their own each, noise of 12 x 12 pixels."""
    made = []
    for row in range(shard * rows, (shard + 1) * rows):
        pixels = np.random.default_rng([len(version), ord(version[0]), row]).integers(0, 256, (12, 12, 3), dtype="u1")
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        example = Example(
            f"{version}-{row}",
            (ImageData(buffer.getvalue(), f"{row}.png"),),
            (Message("user", "What is it?"),),
            f"The picture {row} of {version}.",
            str(row),
        )
        made.append(Pair(example, f"A cat in the picture {row}.", "bdhs", 0.5, 1, 7))
    return made


def _run(path: Path, version: str, count: int, rows: int) -> Path:
    """A finished run as `build-dataset` leaves it, written by its own blocks and merge with shards of a block each."""
    manifest = dataset_run(path, recipe_hash=version.encode().hex() * 8)
    blocks = shards.Blocks(path / ".mmpref")
    for number in range(count):
        blocks.write(number, [[pair] for pair in _pairs(version, number, rows)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", 1)
        patch.setattr(shards, "ROW_GROUP_BYTES", 1)
        files = shards.merge(blocks, count, path / "data", {"train": None})
    blocks.remove()
    assert len(files) == count
    manifest |= {"data": files, "counts": {"rows": count * rows, "skipped": {}}}
    (path / "report.json").write_text(json.dumps(build_report(path / "data", ["train"], [], 5)))
    (path / "run.json").write_text(json.dumps(manifest))
    write_dataset_card(path, manifest)
    return path


@dataclass(frozen=True)
class Scene:
    """A Hub of the test's own, with listings as long as the Hub's, and the old version on it."""

    hub: HubServer
    env: dict[str, str]
    folder: Path
    repo: str = "someone/pairs"

    def push(self, run: Path) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "mmpref",
            "publish",
            str(run),
            "--hub-dataset-id",
            self.repo,
            "--replace",
            "--json",
        ]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def read(self, stop: Path) -> subprocess.Popen[str]:
        versions = {name: {"shards": n, "rows": n * rows} for name, (n, rows) in (("old", OLD), ("new", NEW))}
        (self.folder / "versions.json").write_text(json.dumps(versions))
        command = [sys.executable, str(READER), self.repo, str(self.folder / "versions.json"), str(stop)]
        env = self.env | {"HF_HOME": str(self.folder / "reader-home")}
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def done(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return json.loads(out)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scale")
    with HubServer() as hub:
        token = hub.store.add_user("someone")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        scene = Scene(hub, kept | hub.environment(folder / "home", token), folder)
        scene.done(scene.push(_run(folder / "old", "old", *OLD)))
        yield scene


@pytest.mark.long
def test_a_reader_sees_one_version_whole_whenever_the_push_is_killed(scene: Scene) -> None:
    run, stop = _run(scene.folder / "new", "new", *NEW), scene.folder / "stop"
    faults, repo = scene.hub.faults, scene.hub.repo("dataset", scene.repo)
    objects, before = set(repo.lfs_objects), len(faults.log)
    reader = scene.read(stop)
    for endpoint, action, skip in KILLS:
        stuck = faults.add(endpoint, action, skip=skip)
        process = scene.push(run)
        assert stuck.reached.wait(300), f"{endpoint} was never called"
        process.kill()
        process.communicate()
    scene.done(scene.push(run))
    stop.touch()
    out, err = reader.communicate(timeout=300)
    assert reader.returncode == 0, err
    versions = [json.loads(line)["version"] for line in out.splitlines()]
    assert versions[0] == "old"
    assert versions[-1] == "new"
    assert versions == sorted(versions, reverse=True), "never back to the old version"
    assert len(repo.lfs_objects - objects) == NEW[0] + 3, "and the pictures of three sample pairs"
    uploads = sum(name == "lfs_put" for name, *_ in faults.log[before:])
    assert uploads <= NEW[0] + 16, "only what the two kills amid uploads cut short is uploaded again"
    assert [pull.status for pull in repo.pulls.values()] == ["merged"]
    assert [ref for ref in repo.refs if ref.startswith("refs/heads/")] == ["refs/heads/main"]
