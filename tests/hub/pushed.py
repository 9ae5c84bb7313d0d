"""Runs as tests publish them, and what is on the Hub of them afterwards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.hub.publish_run import publish_run
from mmpref.hub.published import Published
from tests.hub.runs import dataset_run
from tests.hub_fixtures import HubAccount


def push(hub: HubAccount, path: Path, name: str = "thing", **options: Any) -> Published:
    return publish_run(path, f"{hub.name}/{name}", token=hub.token, endpoint=hub.endpoint, **options)


def published_files(hub: HubAccount, kind: str, name: str = "thing") -> dict[str, bytes]:
    repo_id = f"{hub.name}/{name}"
    return {path: hub.hub.read(kind, repo_id, path) for path in hub.hub.tree(kind, repo_id)}


def names_nothing_of(files: dict[str, bytes], *places: object) -> None:
    for name, content in files.items():
        for place in (*places, Path.home(), "/home/someone"):
            assert str(place).encode() + b"/" not in content, f"{name} names {place}"


def pairs_run(folder: Path) -> Path:
    """A finished build whose source and skipped rows are of this machine."""
    path = folder / "pairs"
    source = {
        "id": str(folder / "sft.jsonl"),
        "split": "train",
        "revision": None,
        "fingerprint": "sha256:1",
        "licence": None,
    }
    write_dataset_card(path, dataset_run(path, source=source))
    report = json.loads((path / "report.json").read_text())
    report["skipped"]["no-image"]["first"][0]["detail"] = f"There is no file {folder}/images/9.png."
    (path / "report.json").write_text(json.dumps(report))
    return path


def metadata(card: bytes) -> dict[str, Any]:
    return yaml.safe_load(card.decode().split("---\n")[1])


def adapter_facts(path: Path) -> dict[str, Any]:
    """What an evaluation records of the adapter in a folder."""
    weights = hashlib.sha256((path / "adapter_model.safetensors").read_bytes()).hexdigest()
    return {"id": str(path), "revision": None, "weights": weights}
