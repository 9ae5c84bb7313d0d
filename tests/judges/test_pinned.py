"""Models of the Hub that a run asks: their commits are found when it begins, recorded, and held to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmpref.data.builder import BUILDERS
from mmpref.hub.cards.reproduce_command import command_of
from mmpref.judges.pinned import annotator_facts, pin_annotators
from mmpref.run.directory import open_run
from tests import bare
from tests.hub_fixtures import HubAccount

OBJECTS = {"synonyms": "pkg:mmpref.testbed/synonyms.txt"}
# huggingface_hub reads the Hub's address when it is imported: a process of its own.
SCRIPT = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi
import mmpref
from mmpref.data.builder import BUILDERS
from mmpref.errors import ModelError
from mmpref.judges.detectors import Search, open_detector
from mmpref.judges.pinned import pin_annotators
from mmpref.registry import resolve_path
from mmpref.run.directory import open_run
from tests.judges.test_detectors import owlv2, picture

api, user, folder = HfApi(), sys.argv[1], Path(sys.argv[2])
(folder / "owl").mkdir()
owlv2(folder / "owl")
detector, judge = f"{user}/owl", f"{user}/judge"
commits = {}
for name, path in ((detector, folder / "owl"), (judge, resolve_path("pkg:mmpref.testbed/model"))):
    api.create_repo(name)
    commits[name] = api.upload_folder(repo_id=name, folder_path=path).oid

def begin(run, method, **given):
    settings = BUILDERS.get(method).config()(**given)
    return pin_annotators(open_run(folder / run, "build-dataset", settings), "asked", settings)[0]

def pinned():
    words = {"synonyms": "pkg:mmpref.testbed/synonyms.txt"}
    return [
        begin("hide", "hide-object", detector=detector, **words).detector,
        list(begin("sentinel", "sentinel", detectors=(detector, "testbed-oracle"), **words).detectors),
        begin("claims", "claims", splitter=judge).splitter,
    ]

def boxes(spec):
    return open_detector(spec).detect([Search(picture(), ("cat", "cup"))])

manifest = mmpref.build_dataset(
    method="claims", recipe="plain", model="pkg:mmpref.testbed/model", source="testbed", limit=8,
    annotator=judge, output=folder / "built",
    builder={"max_answer_tokens": 64, "similarity_model": "pkg:mmpref.testbed/embedder"},
).manifest
said = {"detector": commits[detector], "judge": commits[judge], "manifest": manifest, "pinned": pinned()}
found = boxes(detector)
said["second"] = api.upload_file(repo_id=detector, path_in_repo="config.json", path_or_fileobj=b"{}").oid
said |= {"again": pinned(), "later": begin("later", "claims", splitter=detector).splitter}
said["same"] = boxes(said["again"][0]) == found
try:
    boxes(detector)
except ModelError:
    said["head"] = "broken"
print(json.dumps(said))
"""


@pytest.mark.long
def test_a_run_goes_on_with_the_models_that_it_asked_first(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    done = bare.python(SCRIPT, hub.name, str(tmp_path), environment=hub_env | {"HF_HUB_ETAG_TIMEOUT": "60"})
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    owl, judge = (f"{hub.name}/{name}@{said[of]}" for name, of in (("owl", "detector"), ("judge", "judge")))
    assert said["pinned"] == said["again"] == [owl, [owl, "testbed-oracle"], judge]
    assert said["later"] == f"{hub.name}/owl@{said['second']}"
    assert said["same"]
    assert said["head"] == "broken"
    assert said["manifest"]["asked"] == [{"id": f"{hub.name}/judge", "revision": said["judge"]}]
    assert f"annotator={judge}" in command_of(said["manifest"])


def test_a_command_names_the_commits_of_detectors() -> None:
    commit = "c" * 40
    recipe = {"model": "me/vlm", "method": "sentinel", "builder": {"detectors": ["me/owl", "testbed-oracle"]}}
    asked = [{"id": "me/owl", "revision": commit}]
    command = command_of({"command": "build-dataset", "recipe": recipe, "asked": asked})
    assert f'builder.detectors=["me/owl@{commit}", "testbed-oracle"]' in command


def test_whoever_is_no_model_of_the_hub_stays_as_it_is(tmp_path: Path) -> None:
    settings = BUILDERS.get("sentinel").config()(**OBJECTS, detectors=("testbed-oracle", str(tmp_path)))
    run = open_run(tmp_path / "run", "build-dataset", settings)
    for annotator in ("policy", "http://127.0.0.1:1/v1#a-model", "testbed-oracle", str(tmp_path), None):
        assert pin_annotators(run, "asked", settings, annotator) == (settings, annotator)
    claims = BUILDERS.get("claims").config()()
    assert pin_annotators(run, "asked", claims) == (claims, None)
    assert annotator_facts(run, "asked") == {}
