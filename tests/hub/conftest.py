"""What the publish tests push: a small dataset with images, written by plain `datasets`."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmpref.hub._calls import Retry
from mmpref.hub._remote import Content
from mmpref.hub.publish import publish_folder
from mmpref.hub.published import Published
from tests.hub.server.store import Tree, git_sha1
from tests.hub_fixtures import HubAccount

FAST = Retry(attempts=4, first_wait=0.01)
CARD = """---
license: mit
language: [en]
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
# Tiny pairs
"""
Push = Callable[..., Published]


@pytest.fixture(scope="session")
def dataset_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two Parquet shards with three embedded PNG images each, a card, and files that must stay at home."""
    from datasets import Dataset, Features, Image, Value
    from datasets.table import embed_table_storage
    from PIL import Image as Pillow

    folder = tmp_path_factory.mktemp("dataset")
    images = [Pillow.new("RGB", (24, 16), (40 * i, 255 - 40 * i, 7)) for i in range(6)]
    features = Features({"id": Value("string"), "image": Image(), "chosen": Value("string")})
    rows = {"id": [f"r{i}" for i in range(6)], "image": images, "chosen": [f"answer {i}" for i in range(6)]}
    whole = Dataset.from_dict(rows, features=features)
    (folder / "data").mkdir()
    for index in range(2):
        shard = whole.shard(2, index, contiguous=True).with_format("arrow").map(embed_table_storage, batched=True)
        shard.with_format(None).to_parquet(folder / f"data/train-{index:05d}-of-00002.parquet")
    (folder / "README.md").write_text(CARD)
    (folder / "run.json").write_text('{"command": "build-dataset"}\n')
    (folder / ".mmpref").mkdir()
    (folder / ".mmpref/lock").write_text("")
    (folder / ".run.json.77.tmp").write_text("half a fi")
    return folder


@pytest.fixture
def dataset_folder(dataset_template: Path, tmp_path: Path) -> Path:
    """A copy to change at will."""
    return Path(shutil.copytree(dataset_template, tmp_path / "dataset"))


@pytest.fixture
def push(hub: HubAccount) -> Push:
    """Publish a folder as the test's user: `push(folder, "name", kind="dataset", **options)`."""

    def publish(folder: Path, name: str, kind: Any = "dataset", **options: Any) -> Published:
        fields = {field: options.pop(field) for field in ("delete_patterns", "merge_card") if field in options}
        fixed = {"token": hub.token, "endpoint": hub.endpoint, "retry": FAST}
        return publish_folder(Content(folder, "Add the data", **fields), f"{hub.name}/{name}", kind, **fixed | options)

    return publish


def same_content(folder: Path, tree: Tree, ignored: tuple[str, ...] = (".mmpref/", ".run.json")) -> bool:
    """Whether `tree` holds exactly the folder's publishable files, judged by hashes computed here."""
    local = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and not name.startswith(ignored):
            content = file.read_bytes()
            local[name] = (hashlib.sha256(content).hexdigest(), git_sha1(content))
    remote = {name: entry for name, entry in tree.items() if name != ".gitattributes"}
    return local.keys() == remote.keys() and all(
        (remote[name].sha256 == sha256 if remote[name].sha256 else remote[name].oid == git)
        for name, (sha256, git) in local.items()
    )
