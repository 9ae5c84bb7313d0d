"""Training on a dataset of the Hub goes on with the rows that it began with, though the dataset has moved on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests import bare
from tests.hub_fixtures import HubAccount

from .conftest import MODEL

RESUME = """
import sys
from pathlib import Path
from mmpref.align.train import train
from tests.align.test_train import recipe
begun = []
train(recipe(sys.argv[1], sys.argv[2]), Path(sys.argv[3]), on_progress=lambda done, total: begun.append(done))
print("begun at", begun[0])
"""


@pytest.mark.long
def test_a_resumed_training_reads_the_commit_that_it_began_with(
    hub: HubAccount, hub_env: dict[str, str], preferences: Path, tmp_path: Path
) -> None:
    api, name = HfApi(endpoint=hub.endpoint, token=hub.token), f"{hub.name}/pairs"
    api.create_repo(name, repo_type="dataset")
    first = api.upload_folder(repo_id=name, repo_type="dataset", folder_path=str(preferences)).oid
    arguments = [MODEL, name, str(tmp_path / "run")]
    died = bare.module("tests.align.killed", *arguments, "step:5", environment=hub_env)
    assert died.returncode == -signal.SIGKILL, died.stderr
    api.upload_file(repo_id=name, repo_type="dataset", path_in_repo="README.md", path_or_fileobj=b"# New\n")
    done = bare.python(RESUME, *arguments, environment=hub_env)
    assert done.returncode == 0, done.stderr
    assert "begun at 4" in done.stdout
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    assert [source["revision"] for source in manifest["datasets"]] == [first]
