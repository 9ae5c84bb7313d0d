"""A base model on the Hub: its commit is found, recorded and held to, from the build to the published adapter."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from mmpref.origins.revisions import licence_of
from tests import bare
from tests.hub.conftest import HubAccount

MODEL = Path(__file__).parents[2] / "mmpref" / "testbed" / "model"


@pytest.fixture
def run(hub: HubAccount, tmp_path: Path):
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": hub.token,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }

    def call(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        kind, what, *others = arguments
        start = bare.module if kind == "-m" else bare.python
        return start(what, *others, environment=environment | changes, folder=tmp_path)

    return call


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ("license: mit", "mit"),
        ("license: 'apache-2.0'  # ours", "apache-2.0"),
        ("license:\n- mit", "mit"),
        ("license: other\nlicense_name: tongyi-qianwen", "tongyi-qianwen"),
        ("license: other", "other"),
        ("tags: [a]", None),
        ("license: [", None),
        ("just text", None),
    ],
)
def test_the_licence_that_a_card_states(tmp_path: Path, metadata: str, wanted: str | None) -> None:
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n# Model\n\nlicense: gpl\n")
    assert licence_of(str(tmp_path), None) == wanted


LOAD = """
import sys
from transformers import AutoModelForImageTextToText
base, adapter = sys.argv[1:]
print(type(AutoModelForImageTextToText.from_pretrained(adapter)).__name__)
from peft import PeftModel
print(type(PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), adapter)).__name__)
"""

WHICH = """
import sys
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
print(load_policy(ModelRef(sys.argv[1])).ref.revision)
"""


COMMIT = """
import sys
from mmpref.origins.revisions import commit_of
print(commit_of(sys.argv[1], None))
"""


@pytest.mark.long
def test_from_a_base_on_the_hub_to_an_adapter_on_the_hub(hub: HubAccount, run, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    base, adapter = f"{hub.name}/base", f"{hub.name}/adapter"
    api.create_repo(base)
    commit = api.upload_folder(repo_id=base, folder_path=str(MODEL)).oid
    embedder = ("--similarity-model", "pkg:mmpref.testbed/embedder")

    built = run(
        "-m",
        "mmpref",
        "build-dataset",
        "--model",
        base,
        "--source",
        "testbed",
        "--limit",
        "8",
        *embedder,
        "--output",
        "pairs",
    )
    assert built.returncode == 0, built.stderr
    assert json.loads((tmp_path / "pairs/run.json").read_text())["model"]["revision"] == commit

    trained = run(
        "-m",
        "mmpref",
        "train",
        "--model",
        base,
        "--dataset",
        "pairs",
        "--output",
        "adapter",
        "--set",
        "lora.r=2",
        "--set",
        "trainer.max_steps=2",
        "--set",
        "trainer.learning_rate=1e-3",
        "--hub-model-id",
        adapter,
    )
    assert trained.returncode == 0, trained.stderr
    model = json.loads((tmp_path / "adapter/run.json").read_text())["model"]
    assert model == {"id": base, "revision": commit, "licence": "apache-2.0"}
    config = json.loads(Path(api.hf_hub_download(adapter, "adapter_config.json", cache_dir=tmp_path / "c")).read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (base, commit)
    card = api.model_info(adapter).card_data
    assert (card.base_model, card.license) == (base, "apache-2.0")
    loaded = run("-c", LOAD, base, adapter)
    assert loaded.stdout.split() == ["LlavaNextForConditionalGeneration", "PeftModel"], loaded.stderr
    found = run("-c", WHICH, base, HF_HUB_OFFLINE="1")
    assert found.stdout.split() == [commit], found.stderr
    # The commit alone: huggingface_hub tries a Hub that is away for half a minute a file, which a model has many of.
    found = run("-c", COMMIT, base, HF_ENDPOINT="http://127.0.0.1:9")
    assert found.stdout.split() == [commit], found.stderr

    # The base moves on: whoever asks for its head is told, instead of getting other answers.
    api.upload_file(repo_id=base, path_in_repo="NOTES.txt", path_or_fileobj=b"new")
    asked = (
        "-m",
        "mmpref",
        "evaluate",
        "--model",
        base,
        "--adapter",
        adapter,
        "--limit",
        "4",
        "--benchmark",
        "pope",
        "--set",
        "benchmark.pope.data=testbed-pope",
        "--set",
        "benchmark.pope.split=dev",
    )
    refused = run(*asked, "--output", "moved")
    assert refused.returncode == 1
    assert f"--revision={commit}" in refused.stderr
    held = run(*asked, "--revision", commit, "--output", "held")
    assert held.returncode == 0, held.stderr
    token, kept = hub.token.encode(), [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in kept if token in file.read_bytes()] == [], "runs, caches and logs hold no token"
    assert hub.token not in built.stderr + trained.stderr + held.stderr
    found = json.loads((tmp_path / "held/results.json").read_text())["adapter"]
    assert found["revision"] == api.model_info(adapter).sha
