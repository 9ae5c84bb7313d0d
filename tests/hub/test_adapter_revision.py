"""An adapter on the Hub that pairs are written with, or training goes on from: a commit is named, held to and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmpref.align.method import METHODS
from mmpref.align.recipe import TrainRecipe
from mmpref.align.recipe import refuse as refuse_training
from mmpref.bench.evaluate import refuse as refuse_evaluation
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.data.builder import BUILDERS
from mmpref.data.recipe import BuildRecipe, refuse
from mmpref.errors import UsageError
from mmpref.hub.cards.reproduce_command import command_of
from tests import bare
from tests.hub_fixtures import HubAccount

# huggingface_hub reads the Hub's address when it is imported: a process of its own.
SCRIPT = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi
import mmpref

api, name, folder = HfApi(), sys.argv[1], Path(sys.argv[2])
model, embedder = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
lora = {"r": 2, "alpha": 4}
trainer = {"max_steps": 1, "learning_rate": 1e-3, "per_device_train_batch_size": 1, "warmup_steps": 0}

def train(run, **options):
    return mmpref.train(
        recipe="plain", model=model, dataset="testbed-pairs", split="dev", limit=4, lora=lora, trainer=trainer,
        output=folder / run, progress=False, **options,
    )

def build(run, method="bdhs", builder=None, **options):
    settings = {"similarity_model": embedder, "max_answer_tokens": 24, **(builder or {})}
    return mmpref.build_dataset(
        method=method, recipe="plain", model=model, source="testbed", limit=8, builder=settings,
        output=folder / run, progress=False, **options,
    ).manifest

api.create_repo(name)
commits = [
    api.upload_folder(repo_id=name, folder_path=str(train(run, seed=seed).path)).oid
    for seed, run in enumerate(("one", "two"))
]
at = {"adapter": name, "adapter_revision": commits[0]}
said = {"commits": commits, "train": train("at", **at).manifest, "train at head": train("head", adapter=name).manifest,
        "build": build("pairs", iterations=1, **at), "build at head": build("pairs-head", iterations=1, adapter=name),
        "iris": build("iris", "iris", {"adapter": name}, adapter_revision=commits[0])}
print(json.dumps(said))
"""


@pytest.mark.long
def test_the_same_bytes_are_taken_whatever_comes_after_them(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    name = f"{hub.name}/adapter"
    done = bare.python(SCRIPT, name, str(tmp_path), environment=hub_env | {"HF_HUB_ETAG_TIMEOUT": "60"})
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    first, second = said["commits"]
    for run, key in (("train", "began"), ("build", "adapter"), ("iris", "adapter")):
        assert said[run][key]["revision"] == first
        assert f"adapter_revision={first}" in command_of(said[run])
    for run, key in (("train at head", "began"), ("build at head", "adapter")):
        assert said[run][key]["revision"] == second
        assert "adapter_revision" not in said[run]["recipe"]
        assert f"adapter_revision={second}" in command_of(said[run]), "the card takes the same bytes"


def test_a_revision_of_no_adapter_is_refused() -> None:
    with pytest.raises(UsageError, match="no adapter that adapter_revision could be of"):
        refuse(BuildRecipe("me/vlm", "me/sft", adapter_revision="main"), BUILDERS.get("bdhs"))
    with pytest.raises(UsageError, match="no adapter that adapter_revision could be of"):
        refuse_training(TrainRecipe("me/vlm", ("me/pairs",), adapter_revision="main"), METHODS.get("dpo"))
    with pytest.raises(UsageError, match="no adapter that adapter_revision could be of"):
        refuse_evaluation(EvaluateRecipe("me/vlm", ("pope",), adapter_revision="main"))
