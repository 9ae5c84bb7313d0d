"""Rounds on a model of the Hub, whose repository gets a commit between them."""

from __future__ import annotations

import json
from pathlib import Path

from mmpref.registry import resolve_path
from tests import bare
from tests.api.chains import MODEL, SECTIONS, written
from tests.hub_fixtures import HubAccount

ROUNDS = """
import sys
from huggingface_hub import HfApi
import mmpref

repo, folder, recipe, output = sys.argv[1:]
api = HfApi()
api.create_repo(repo)
api.upload_folder(repo_id=repo, folder_path=folder)
mmpref.iterate(recipe, rounds=1, output=output, progress=False)
api.upload_file(repo_id=repo, path_in_repo="README.md", path_or_fileobj=b"# Said better")
mmpref.iterate(recipe, rounds=2, output=output, progress=False)
"""


def test_all_rounds_are_of_the_commit_of_the_first(hub: HubAccount, hub_env: dict[str, str], tmp_path: Path) -> None:
    repo = f"{hub.name}/vlm"
    file = written(
        tmp_path,
        **{
            "build-dataset": {"source": "testbed", "limit": 12, "method": "mismatched"},
            "train": {**SECTIONS["train"], "model": repo, "trainer": {"max_steps": 1, "learning_rate": 3e-3}},
            "evaluate": {**SECTIONS["evaluate"], "model": repo, "limit": 4},
        },
    )
    env = hub_env | {"HF_HUB_ETAG_TIMEOUT": "60"}
    done = bare.python(ROUNDS, repo, resolve_path(MODEL), str(file), str(tmp_path / "out"), environment=env)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(one.read_text()) for one in tmp_path.glob("out/round-*/*/run.json")]
    models = {run["model"]["revision"] for run in runs if run["command"] != "build-dataset"}
    assert len(runs) >= 6
    assert len(models) == 1
