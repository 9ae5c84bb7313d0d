"""An embedder of the Hub: its commit is found when a run begins, recorded, and held to."""

from __future__ import annotations

import json
from pathlib import Path

from mmpref.origins.revisions import ref_of
from mmpref.run.directory import open_run
from mmpref.sampling.embedders import embedder_facts, pin_embedders
from mmpref.sampling.settings import BdhsSettings
from tests import bare
from tests.hub_fixtures import HubAccount

EMBEDDER = "pkg:mmpref.testbed/embedder"
# huggingface_hub reads the Hub's address when it is imported: a process of its own.
SCRIPT = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi
import mmpref
from mmpref.errors import ModelError
from mmpref.registry import resolve_path
from mmpref.run.directory import open_run
from mmpref.sampling.embedders import pin_embedders
from mmpref.sampling.settings import BdhsSettings
from mmpref.sampling.similarity import Similarity

api, name, folder = HfApi(), sys.argv[1], Path(sys.argv[2])
api.create_repo(name)
first = api.upload_folder(repo_id=name, folder_path=resolve_path("pkg:mmpref.testbed/embedder")).oid

def begin(run, spec=name):
    settings = BdhsSettings(similarity_model=spec)
    return pin_embedders(open_run(folder / run, "build-dataset", settings), "embedders", settings).similarity_model

def cosine(spec):
    return Similarity(spec)(["A red cube."], ["A blue ball."])

def build(run):
    recipe = dict(method="bdhs", recipe="plain", model="pkg:mmpref.testbed/model", source="testbed", limit=2)
    return mmpref.build_dataset(
        **recipe, similarity_model=name, output=folder / run, iterations=1, builder={"max_answer_tokens": 8}
    ).manifest["embedders"]

said = {"first": first, "built": build("built"), "one": begin("one"), "cosine": cosine(name)}
said["second"] = api.upload_file(repo_id=name, path_in_repo="modules.json", path_or_fileobj=b"{").oid
said |= {"again": begin("one"), "later": begin("two"), "chosen": begin("three", f"{name}@{first}")}
said["same"] = cosine(said["again"])
try:
    cosine(name)
except ModelError:
    said["head"] = "broken"
print(json.dumps(said))
"""


def test_a_run_goes_on_with_the_commit_that_it_began_with(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    name = f"{hub.name}/embedder"
    done = bare.python(SCRIPT, name, str(tmp_path), environment=hub_env | {"HF_HUB_ETAG_TIMEOUT": "60"})
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    first, second = said["first"], said["second"]
    assert first != second
    assert said["built"] == [{"id": name, "revision": first}]
    assert said["one"] == said["again"] == said["chosen"] == f"{name}@{first}"
    assert said["later"] == f"{name}@{second}"
    assert said["same"] == said["cosine"]
    assert said["head"] == "broken"


def test_a_folder_stays_as_it_is(tmp_path: Path) -> None:
    settings = BdhsSettings(similarity_model=EMBEDDER)
    run = open_run(tmp_path / "run", "build-dataset", settings)
    assert pin_embedders(run, "embedders", settings) == settings
    assert embedder_facts(run, "embedders") == {}


def test_what_a_name_names(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    assert ref_of(str(tmp_path / "a@b")).revision is None
    assert (ref_of("a/b@main").model, ref_of("a/b@main").revision) == ("a/b", "main")
    assert (ref_of("a/b").model, ref_of("a/b").revision) == ("a/b", None)
