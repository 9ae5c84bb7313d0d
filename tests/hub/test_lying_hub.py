"""A dataset of the Hub, where a proxy or a page to sign in answers in its place, or files come in part."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import HfApi

from tests import bare
from tests.hub_fixtures import HubAccount

LOAD = """
import json, os, sys, httpx
from mmpref.errors import MmprefError
from mmpref.tables.open import open_table
control = f"{os.environ['HF_ENDPOINT']}/_control"
for fault, name in json.loads(sys.argv[1]):
    for given in (fault, None):
        if given:
            httpx.post(control, json=given)
        try:
            print(json.dumps(sorted(row["id"] for row in open_table(name))))
        except MmprefError as error:
            print(json.dumps(f"{type(error).__name__}: {error}"))
        httpx.delete(control)
"""
FAULTS = [
    {"endpoint": endpoint, "action": action, "times": 99}
    for endpoint in ("info", "resolve")
    for action in ("page", "cut", "lose")
]


def test_lies_are_told_and_leave_nothing_in_the_cache(
    hub: HubAccount, hub_env: dict[str, str], dataset_folder: Path
) -> None:
    """Each time a dataset that is not cached is read twice: while the Hub lies, and then."""
    (dataset_folder / "README.md").unlink()
    api, given = HfApi(endpoint=hub.endpoint, token=hub.token), []
    for number, fault in enumerate(FAULTS):
        name = f"{hub.name}/pairs{number}"
        api.create_repo(name, repo_type="dataset")
        api.upload_folder(repo_id=name, repo_type="dataset", folder_path=str(dataset_folder))
        given.append((fault, name))
    done = bare.python(LOAD, json.dumps(given), environment=hub_env)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    for (fault, name), lied, honest in zip(given, said[::2], said[1::2], strict=True):
        assert honest == [f"r{number}" for number in range(6)], (fault, honest)
        assert isinstance(lied, str), fault
        assert name in lied
        assert lied.startswith(("HubError:", "InputError:"))
