"""An adapter of the Hub is put on the weights that it was trained on, as one in a folder is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from huggingface_hub import HfApi

from mmpref.registry import resolve_path
from mmpref.vlm.base_weights import folder_weights
from tests import bare
from tests.hub.runs import adapter_run
from tests.hub_fixtures import HubAccount

# huggingface_hub reads the Hub's address when it is imported: a process of its own.
SCRIPT = """
import json, sys
import mmpref
from mmpref.errors import MmprefError
from mmpref.types import ModelRef
from mmpref.vlm.adapters import check_adapter

adapter, base, other, output = sys.argv[1:]
lora, trainer = {"r": 2, "alpha": 4}, {"max_steps": 1}
train = dict(recipe="plain", dataset="testbed-pairs", split="dev", limit=2, lora=lora, trainer=trainer)
evaluate = dict(recipe="plain", benchmarks=["pope"], benchmark={"pope": {"data": "testbed-pope"}}, limit=1)
said = {}
for name, call in {
    "evaluate": lambda: mmpref.evaluate(model=other, adapter=adapter, output=f"{output}/evaluation", **evaluate),
    "train": lambda: mmpref.train(model=other, adapter=adapter, output=f"{output}/training", **train),
    "own": lambda: check_adapter(ModelRef(base, None, adapter)),
}.items():
    try:
        call()
        said[name] = ""
    except MmprefError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


def test_an_adapter_of_the_hub_is_refused_on_other_weights(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    base, other, run, name = tmp_path / "vlm", tmp_path / "other-vlm", tmp_path / "run", f"{hub.name}/vlm-dpo"
    for folder in (base, other):
        shutil.copytree(resolve_path("pkg:mmpref.testbed/model"), folder)
    _change_a_weight(other / "model.safetensors")
    manifest = adapter_run(run, str(base), None) | {"model_weights": folder_weights(str(base))}
    (run / "run.json").write_text(json.dumps(manifest))
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(name)
    api.upload_folder(repo_id=name, folder_path=run)
    done = bare.python(SCRIPT, name, *map(str, (base, other, tmp_path)), environment=hub_env)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    refusal = f"The adapter {name} was trained on other weights than {other} holds now (model.safetensors)."
    assert refusal in said["evaluate"]
    assert refusal in said["train"]
    assert said["own"] == ""


CHECKED = """
import logging, sys
from pathlib import Path
from huggingface_hub import snapshot_download
from mmpref.types import ModelRef
from mmpref.vlm.adapters import check_adapter

logging.basicConfig(level="WARNING", format="%(message)s")
adapter, *bases = sys.argv[1:]
for base in bases:
    commit = Path(snapshot_download(base)).name
    print(f"-- {base}", file=sys.stderr)
    check_adapter(ModelRef(base, commit, adapter))
"""


def test_an_adapter_of_a_folder_is_compared_with_a_base_of_the_hub(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    base, run, names = tmp_path / "vlm", tmp_path / "run", [f"{hub.name}/same-vlm", f"{hub.name}/other-vlm"]
    shutil.copytree(resolve_path("pkg:mmpref.testbed/model"), base)
    manifest = adapter_run(run, str(base), None) | {"model_weights": folder_weights(str(base))}
    (run / "run.json").write_text(json.dumps(manifest))
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    for name in names:
        api.create_repo(name)
        api.upload_folder(repo_id=name, folder_path=base)
        _change_a_weight(base / "model.safetensors")
    done = bare.python(CHECKED, str(run), *names, environment=hub_env)
    assert done.returncode == 0, done.stderr
    same, other = done.stderr.split(f"-- {names[0]}")[1].split(f"-- {names[1]}")
    assert "was trained on" not in same
    assert f"Warning: the adapter {run} was trained on other weights than {names[1]} has at " in other
    assert "(model.safetensors)" in other


def _change_a_weight(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
