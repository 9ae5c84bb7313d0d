"""The check before the long work: every way in which a push could not succeed has its own line."""

from __future__ import annotations

import socket

import pytest

from mmpref.errors import HubError, UsageError
from mmpref.hub._calls import Retry
from mmpref.hub.access import check_access
from tests.hub_fixtures import HubAccount


def test_a_name_gets_its_namespace(hub: HubAccount) -> None:
    assert check_access("pairs", "dataset", token=hub.token, endpoint=hub.endpoint) == f"{hub.name}/pairs"
    assert check_access(None, "dataset", token=hub.token, endpoint=hub.endpoint) == hub.name
    named = check_access(None, "dataset", default_name="run-1", token=hub.token, endpoint=hub.endpoint)
    assert named == f"{hub.name}/run-1"
    assert hub.hub.faults.calls("create_repo") == []


def test_an_organization_of_the_user(hub: HubAccount) -> None:
    token = hub.hub.store.add_user(hub.name, orgs=("lab",))
    assert check_access("lab/pairs", "model", token=token, endpoint=hub.endpoint) == "lab/pairs"


def test_somebody_elses_namespace(hub: HubAccount) -> None:
    with pytest.raises(HubError, match=f"{hub.name} does not belong to 'lab'. You can push to: {hub.name}"):
        check_access("lab/pairs", "dataset", token=hub.token, endpoint=hub.endpoint)


def test_no_token(hub: HubAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(HubError, match=r"There is no Hugging Face token. Log in with `hf auth login`"):
        check_access("pairs", "dataset", endpoint=hub.endpoint)


def test_the_token_of_the_environment(hub: HubAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert check_access("pairs", "dataset", endpoint=hub.endpoint) == f"{hub.name}/pairs"


def test_a_wrong_token_is_not_repeated_to_the_user(hub: HubAccount) -> None:
    wrong = "hf_" + "x" * 34
    with pytest.raises(HubError, match="does not know this token") as caught:
        check_access("pairs", "dataset", token=wrong, endpoint=hub.endpoint)
    assert wrong not in str(caught.value)


def test_a_token_that_can_only_read(hub: HubAccount) -> None:
    token = hub.hub.store.add_user(hub.name, role="read")
    with pytest.raises(HubError, match=f"The token of {hub.name} can only read"):
        check_access("pairs", "dataset", token=token, endpoint=hub.endpoint)


@pytest.mark.parametrize(
    ("entity", "permissions", "allowed"),
    [
        ({"type": "user", "name": "{user}"}, ["repo.content.read", "repo.write"], True),
        ({"type": "dataset", "name": "{user}/pairs"}, ["repo.write"], True),
        ({"type": "model", "name": "{user}/pairs"}, ["repo.write"], False),
        ({"type": "user", "name": "{user}"}, ["repo.content.read"], False),
        ({"type": "org", "name": "lab"}, ["repo.write"], False),
    ],
)
def test_a_fine_grained_token(hub: HubAccount, entity: dict[str, str], permissions: list[str], allowed: bool) -> None:
    named = entity | {"name": entity["name"].format(user=hub.name)}
    scopes = [{"entity": named, "permissions": permissions}]
    token = hub.hub.store.add_user(hub.name, role="fineGrained", scopes=scopes)
    if allowed:
        assert check_access("pairs", "dataset", token=token, endpoint=hub.endpoint) == f"{hub.name}/pairs"
    else:
        with pytest.raises(HubError, match=r"fine-grained token .* has no write permission"):
            check_access("pairs", "dataset", token=token, endpoint=hub.endpoint)


def test_a_hub_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(HubError, match=f"{endpoint} did not answer") as caught:
        check_access("pairs", "dataset", token="hf_x", endpoint=endpoint, retry=Retry(2, 0.01))
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_busy_for_a_moment(hub: HubAccount) -> None:
    hub.hub.faults.add("whoami", "status", status=503)
    known = check_access("pairs", "dataset", token=hub.token, endpoint=hub.endpoint, retry=Retry(2, 0.01))
    assert known == f"{hub.name}/pairs"


@pytest.mark.parametrize("name", ["a b", "a/b/c", "-x"])
def test_an_impossible_name(hub: HubAccount, name: str) -> None:
    with pytest.raises(UsageError, match="not a valid repository id"):
        check_access(name, "dataset", token=hub.token, endpoint=hub.endpoint)
