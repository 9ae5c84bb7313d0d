"""Trusted publishing: a CI job's identity token is exchanged for one that writes to a single repository.

The exchange asks the endpoint that huggingface_hub read when it was imported, hence processes of their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import bare
from tests.hub.conftest import same_content
from tests.hub_fixtures import HubAccount

SCRIPT = """
import sys
from pathlib import Path
from mmpref.errors import HubError
from mmpref.hub._calls import Retry
from mmpref.hub._remote import Content
from mmpref.hub.access import check_access
from mmpref.hub.publish import publish_folder
folder, repo_id = Path(sys.argv[1]), sys.argv[2] or None
try:
    full = check_access(repo_id, "dataset", default_name="run-1", retry=Retry(2, 0.01))
    print(publish_folder(Content(folder, "Add the data"), full, "dataset", retry=Retry(2, 0.01)).url)
except HubError as error:
    print("Error:", error)
"""


def as_job(hub_env: dict[str, str], folder: Path, repo_id: str, resource: str, identity: str = "job-1") -> str:
    env = {key: value for key, value in hub_env.items() if key != "HF_TOKEN"}
    env |= {"HF_OIDC_RESOURCE": resource, "HF_OIDC_ID_TOKEN": identity}
    done = bare.python(SCRIPT, str(folder), repo_id, environment=env)
    assert done.returncode == 0, done.stderr
    assert identity not in done.stdout
    return done.stdout.strip()


@pytest.fixture
def resource(hub: HubAccount) -> str:
    """A repository that trusts the job whose identity token is `job-1`."""
    hub.hub.store.create_repo("dataset", f"{hub.name}/pairs", False, hub.name)
    name = f"datasets/{hub.name}/pairs"
    hub.hub.store.publishers["job-1"] = name
    return name


def test_a_trusted_job_publishes_without_a_stored_token(
    hub: HubAccount, hub_env: dict[str, str], dataset_folder: Path, resource: str
) -> None:
    """Such a token belongs to no user and creates no repository; neither is needed."""
    url = as_job(hub_env, dataset_folder, "", resource)
    assert url == f"{hub.endpoint}/{resource}"
    assert same_content(dataset_folder, hub.hub.tree("dataset", f"{hub.name}/pairs"))
    assert hub.hub.titles("dataset", f"{hub.name}/pairs") == ["Add the data", "initial commit"]
    assert as_job(hub_env, dataset_folder, f"{hub.name}/pairs", resource) == url
    assert len(hub.hub.titles("dataset", f"{hub.name}/pairs")) == 2


def test_what_it_cannot_do_is_said_first(
    hub: HubAccount, hub_env: dict[str, str], dataset_folder: Path, resource: str
) -> None:
    other = as_job(hub_env, dataset_folder, f"{hub.name}/other", resource)
    assert other.startswith(f"Error: The token for HF_OIDC_RESOURCE={resource} cannot write to the dataset")
    unknown = as_job(hub_env, dataset_folder, "", resource, identity="job-2")
    assert unknown.startswith(f"Error: No token for HF_OIDC_RESOURCE={resource}: ")
    assert "invalid_grant" in unknown
    assert hub.hub.titles("dataset", f"{hub.name}/pairs") == ["initial commit"]
