"""A Hub that hangs, or is slow: what is cached is read after one question, the same commit, and nothing else."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from mmpref import hub_cache
from mmpref.cli import checks
from mmpref.hub_cache import PATIENCE
from tests import bare
from tests.hub_fixtures import HubAccount

MODEL = Path(__file__).parents[1] / "mmpref" / "testbed" / "model"
AWAY = {"HF_ENDPOINT": "http://127.0.0.1:9"}

LOAD = """
import json, sys
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy
from mmpref.origins.revisions import licence_of
ref = load_policy(ModelRef(*json.loads(sys.argv[1]))).ref
from huggingface_hub import constants
print(json.dumps([ref.revision, ref.adapter_revision, licence_of(ref.model, ref.revision), constants.HF_HUB_OFFLINE]))
"""

FETCH = """
import json, sys
from huggingface_hub import hf_hub_download
hf_hub_download(*json.loads(sys.argv[1]))
"""

FILES = """
import json, sys
from mmpref.hub_cache import file_at
names, *of = json.loads(sys.argv[1])
print(json.dumps([found and found.name for found in (file_at(*of, name) for name in names)]))
"""

ADAPTER = "adapter_config.json tokenizer.json adapter_model.safetensors"
COMMIT = """
import json, sys
from mmpref.hub_cache import commit_at
print(json.dumps(commit_at(*json.loads(sys.argv[1]), "config.json")))
"""


@dataclass
class Hanging:
    """A server that takes connections and never answers."""

    endpoint: str
    taken: list[socket.socket] = field(default_factory=list)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        found = Hanging(f"http://127.0.0.1:{server.getsockname()[1]}")

        def take() -> None:
            while True:
                try:
                    found.taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield found
        server.shutdown(socket.SHUT_RDWR)
        for connection in found.taken:
            connection.close()


def said(code: str, environment: dict[str, str], *values: str | None) -> Any:
    done = bare.python(code, json.dumps(values), environment=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def save_adapter(folder: Path) -> None:
    """An adapter of the testbed's model that changes its answers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(MODEL)
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink()  # it names a base of this machine


def test_a_cached_model_and_its_adapter_load_after_one_question_to_a_hub_that_hangs(
    hub: HubAccount, hub_env: dict[str, str], hanging: Hanging, tmp_path: Path
) -> None:
    """At two seconds: today's libraries ask some fifteen times, and wait for minutes."""
    save_adapter(tmp_path / "adapter")
    api, names = HfApi(endpoint=hub.endpoint, token=hub.token), (f"{hub.name}/base", f"{hub.name}/lora")
    commits = []
    for name, folder in zip(names, (MODEL, tmp_path / "adapter"), strict=True):
        api.create_repo(name)
        commits.append(api.upload_folder(repo_id=name, folder_path=str(folder)).oid)
    ref = (names[0], None, names[1])
    assert PATIENCE == 2
    patient = {"HF_HUB_ETAG_TIMEOUT": "60"}
    online = said(LOAD, hub_env | patient, *ref)
    assert online == [*commits, "apache-2.0", False]
    hub.hub.faults.log.clear()
    assert said(LOAD, hub_env | patient, *ref) == online
    assert [name for name, *_ in hub.hub.faults.log] == ["info", "info"], "of each repository, which commit it has"
    assert said(LOAD, hub_env | {"HF_ENDPOINT": hanging.endpoint}, *ref) == online
    assert len(hanging.taken) == 1


def test_what_the_cache_lacks_is_still_asked_for(hub: HubAccount, hub_env: dict[str, str], tmp_path: Path) -> None:
    """Somebody else's program may have cached the weights alone; a model of other settings would answer otherwise."""
    api, name, env = HfApi(endpoint=hub.endpoint, token=hub.token), f"{hub.name}/base", {"HF_HUB_ETAG_TIMEOUT": "60"}
    api.create_repo(name)
    commit = api.upload_folder(repo_id=name, folder_path=str(MODEL)).oid
    for file in ("config.json", "model.safetensors"):
        bare.python(FETCH, json.dumps([name, file]), environment=hub_env)
    assert said(LOAD, hub_env | env, name)[0] == commit
    fetched = {
        path.rpartition("/")[2] for call, _, path, status in hub.hub.faults.log if call == "resolve" and status == 200
    }
    assert {"chat_template.jinja", "generation_config.json", "processor_config.json", "tokenizer.json"} <= fetched


@pytest.mark.parametrize(
    ("has", "cached", "whole"),
    [
        ("config.json model.safetensors pytorch_model.bin", "config.json model.safetensors", True),
        ("config.json model.safetensors pytorch_model.bin", "config.json pytorch_model.bin", False),
        ("config.json tekken.json model.safetensors", "config.json model.safetensors", False),
        (
            "config.json adapter_config.json model.safetensors",
            "config.json adapter_config.json model.safetensors",
            False,
        ),
        (ADAPTER, "adapter_config.json adapter_model.bin", False),
        (ADAPTER, "adapter_config.json adapter_model.safetensors", True),
    ],
)
def test_the_cache_is_enough_only_where_the_hub_would_give_the_same(
    has: str, cached: str, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights as a pickle may be of another training, and a model that is an adapter needs its base too."""
    commit = "0" * 40
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_cache, "_answers", {})
    monkeypatch.setattr(hub_cache, "_listed", {("me/x", commit): frozenset(has.split())})
    for name in cached.split():
        file = tmp_path / "models--me--x" / "snapshots" / commit / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    with hub_cache.cache_first("me/x", commit):
        assert constants.is_offline_mode() is whole
    assert not constants.is_offline_mode()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("reply", ["[]", "{}", '{"error": "sign in"}', "<html>"])
def test_what_answers_in_the_hubs_place_is_no_hub(reply: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy says so to anything, with the status of success."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(hub_cache, "_answers", {})
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "30")
        assert hub_cache._asked("me/x", "main") is None
        assert hub_cache.was_silent()
        server.shutdown()


def test_loads_that_overlap_leave_no_process_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    first, second = hub_cache._offline(), hub_cache._offline()
    for step in (first.__enter__, second.__enter__):
        step()
        assert constants.is_offline_mode()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert (constants.is_offline_mode(), os.environ["HF_HUB_OFFLINE"]) == (False, "0")


def test_who_takes_a_connection_is_slow_and_who_does_not_is_away(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    monkeypatch.setattr(checks, "_PAUSE", 0.0)
    assert checks._silent(hanging.endpoint) == ("timed out", True)
    assert checks._silent(AWAY["HF_ENDPOINT"]) == ("Connection refused", False)


def test_the_commit_of_a_name_is_the_hubs_while_it_answers(hub: HubAccount, hub_env: dict[str, str]) -> None:
    api, name, env = HfApi(endpoint=hub.endpoint, token=hub.token), f"{hub.name}/base", dict(hub_env)
    env["HF_HUB_ETAG_TIMEOUT"] = "60"
    api.create_repo(name)
    old = api.upload_file(repo_id=name, path_in_repo="config.json", path_or_fileobj=b"{}").oid
    assert said(COMMIT, env, name, None) == old
    new = api.upload_file(repo_id=name, path_in_repo="config.json", path_or_fileobj=b"[]").oid
    hub.hub.faults.add("info", "status", status=503)
    assert said(COMMIT, env, name, None) == old  # busy: the cache's
    assert said(COMMIT, env | AWAY, name, None) == old
    assert said(COMMIT, env, name, None) == new
    assert said(COMMIT, env | AWAY, name, None) == new
    assert said(COMMIT, env | AWAY, name, old) == old


def test_a_file_that_not_all_have_is_there_or_not(hub: HubAccount, hub_env: dict[str, str]) -> None:
    """What is not cached is not waited for, where the Hub is away."""
    api, name = HfApi(endpoint=hub.endpoint, token=hub.token), f"{hub.name}/adapter"
    api.create_repo(name)
    for file in ("run.json", "other.json"):
        commit = api.upload_file(path_or_fileobj=b"{}", path_in_repo=file, repo_id=name).oid
    assert said(FILES, hub_env, ["run.json", "gone.json"], name, commit) == ["run.json", None]
    assert said(FILES, hub_env | AWAY, ["run.json", "other.json"], name, commit) == ["run.json", None]
    assert said(FILES, hub_env, ["run.json"], f"{hub.name}/none", commit) == [None]
