"""Names on the Hub that keep their meaning through a chain's rounds."""

from __future__ import annotations

from pathlib import Path

from tests import bare
from tests.hub_fixtures import HubAccount

ROUNDS = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi
from mmpref.hub_cache import commit_at
from mmpref.hub_commits import keeping_commits
from mmpref.tables.open import open_table

repo, file, api = sys.argv[1], Path(sys.argv[2]), HfApi()

def commit(kind, name, content):
    return api.upload_file(repo_id=repo, path_in_repo=name, path_or_fileobj=content, repo_type=kind).oid

def means():
    return [commit_at(repo, None, "config.json"), open_table(repo).revision]

begun = []
for kind, name in (("model", "config.json"), ("dataset", "train.jsonl")):
    api.create_repo(repo, repo_type=kind)
    begun.append(commit(kind, name, b'{"prompt": "What?"}'))
with keeping_commits(file):
    assert means() == begun
edited = [commit(kind, "README.md", b"# Said better") for kind in ("model", "dataset")]
with keeping_commits(file):
    assert means() == begun
    assert commit_at(repo, edited[0], "config.json") == edited[0]
assert means() == edited
"""


def test_a_name_keeps_its_meaning_through_a_restart(hub: HubAccount, hub_env: dict[str, str], tmp_path: Path) -> None:
    env = hub_env | {"HF_HUB_ETAG_TIMEOUT": "60"}
    done = bare.python(ROUNDS, f"{hub.name}/both", str(tmp_path / "commits.json"), environment=env)
    assert done.returncode == 0, done.stderr
