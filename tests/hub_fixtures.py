"""Fixtures of everything that talks to a Hub: a real HTTP server on loopback, an account for each test.

This module sets the environment before anything imports huggingface_hub: the server speaks LFS, not Xet, and
tests neither read nor write the user's own Hugging Face folder.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hub.server import HubServer

_HOME = tempfile.mkdtemp(prefix="hf-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["HF_HOME"] = _HOME
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
for _name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
    os.environ.pop(_name, None)


@dataclass(frozen=True)
class HubAccount:
    """A user of the test's own on the server, with a token that may write."""

    hub: HubServer
    name: str
    token: str

    @property
    def endpoint(self) -> str:
        return self.hub.endpoint


@pytest.fixture(scope="session")
def hub_server() -> Iterator[HubServer]:
    """One server for the whole session; tests keep apart by their namespaces."""
    with HubServer(multipart_chunk=64_000, page_size=7) as server:
        yield server


@pytest.fixture
def hub(hub_server: HubServer, request: pytest.FixtureRequest) -> Iterator[HubAccount]:
    """A fresh user with an empty namespace, no faults in wait and an empty call log."""
    name = f"user{len({a.name for a in hub_server.store.accounts.values()})}"
    hub_server.faults.clear()
    yield HubAccount(hub_server, name, hub_server.store.add_user(name))
    hub_server.faults.clear()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks a Hub. Where there is no network, huggingface_hub tries for 23 seconds to find that out."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def hub_env(hub: HubAccount, tmp_path: Path) -> dict[str, str]:
    """The whole environment for a subprocess that is logged in as the test's user, with an empty HF_HOME."""
    left_out = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    return env | hub.hub.environment(tmp_path / "hf-home", hub.token) | {"PYTHONUNBUFFERED": "1"}
