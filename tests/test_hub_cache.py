"""A Hub that hangs, or is slow: what is cached is read within seconds, the same commit, and nothing else."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub_fixtures import HubAccount

MODEL = Path(__file__).parents[1] / "mmpref" / "testbed" / "model"

LOAD = """
import json, sys, time
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.revisions import licence_of
import peft  # which a load imports too
began = time.perf_counter()
ref = load_policy(ModelRef(*json.loads(sys.argv[1]))).ref
seconds = time.perf_counter() - began
from huggingface_hub import constants
print(json.dumps([ref.revision, ref.adapter_revision, licence_of(ref.model, ref.revision), seconds,
                  constants.HF_HUB_OFFLINE]))
"""


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def load(environment: dict[str, str], *ref: str | None) -> list:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(ref)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def adapter(folder: Path) -> None:
    """Save an adapter of the testbed's model that changes its answers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(MODEL)
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink()  # it names a base of this machine


def test_a_cached_model_loads_within_five_seconds_beside_a_hub_that_hangs(
    hub: HubAccount, hub_env: dict[str, str], hanging: str, tmp_path: Path
) -> None:
    api, base = HfApi(endpoint=hub.endpoint, token=hub.token), f"{hub.name}/base"
    api.create_repo(base)
    commit = api.upload_folder(repo_id=base, folder_path=str(MODEL)).oid
    adapter(tmp_path / "adapter")
    lora = f"{hub.name}/lora"
    api.create_repo(lora)
    lora_commit = api.upload_folder(repo_id=lora, folder_path=str(tmp_path / "adapter")).oid
    ref = (base, None, lora)
    assert load(hub_env, *ref)[:3] == [commit, lora_commit, "apache-2.0"]
    for endpoint in (hanging, "http://127.0.0.1:9"):
        *found, licence, seconds, offline = load(hub_env | {"HF_ENDPOINT": endpoint}, *ref)
        assert (found, licence) == ([commit, lora_commit], "apache-2.0")
        assert seconds < 5
        assert not offline  # what another model needs is asked for
    # The head moves on; the Hub answers, and its answer counts.
    new = api.upload_file(repo_id=base, path_in_repo="NOTES.txt", path_or_fileobj=b"new").oid
    hub.hub.faults.add("resolve", "status", status=503)
    assert load(hub_env, base)[0] == commit
    assert load(hub_env, base)[0] == new
    assert load(hub_env | {"HF_ENDPOINT": hanging}, base)[0] == new
