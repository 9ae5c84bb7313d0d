"""Each named set builds from repositories of its true shape, and trains; SFT sources read."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from tests import bare
from tests.hub.server import HubServer

from . import files, shapes
from .shapes import BAD, GOOD, QUESTION

MODEL = "pkg:mmpref.testbed/model"


@dataclass(frozen=True)
class Published:
    """The repositories on the tests' Hub, COCO on the disk, and an environment that sees both."""

    commits: dict[str, list[str]]
    coco: Path
    env: dict[str, str]

    def run(self, *jobs: tuple[str, Any]) -> list[dict[str, Any]]:
        done = bare.module("tests.data.published.build", json.dumps(jobs), environment=self.env)
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def published(hub_server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Published:
    place = tmp_path_factory.mktemp("published")
    files.coco(place / "coco")
    commits: dict[str, list[str]] = {}
    tokens: dict[str, str] = {}
    for repo, writers in shapes.REPOSITORIES.items():
        owner = repo.split("/")[0]
        if owner not in tokens:
            tokens[owner] = hub_server.store.add_user(owner)
        api = HfApi(endpoint=hub_server.endpoint, token=tokens[owner])
        api.create_repo(repo, repo_type="dataset")
        for number, write in enumerate(writers):
            folder = place / repo / str(number)
            folder.mkdir(parents=True)
            write(folder)
            done = api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder, delete_patterns="*")
            commits.setdefault(repo, []).append(done.oid)
    env = {**os.environ, **hub_server.environment(place / "home", tokens["openbmb"]), "OMP_NUM_THREADS": "1"}
    env.pop("HF_HUB_OFFLINE", None)
    return Published(commits, place / "coco", env)


CASES = {
    "vlfeedback-files": ["--method", "vlfeedback", "--source-revision", "FIRST"],
    "vlfeedback": ["--method", "vlfeedback"],
    "vlfeedback-all": ["--method", "vlfeedback", "--set", "builder.pairs=all-pairs"],
    "vlfeedback-one": ["--method", "vlfeedback", "--set", "builder.pairs=one-per-prompt"],
    "vlfeedback-llava-prompts": ["--recipe", "vlfeedback-llava-prompts"],
    "vlfeedback-gpt4v-chosen": ["--recipe", "vlfeedback-gpt4v-chosen"],
    "povid": ["--method", "povid", "--image-root", "COCO"],
    "rlhf-v": ["--method", "rlhf-v"],
    "rlaif-v": ["--method", "rlaif-v"],
    "rlaif-v-iteration": [
        *("--method", "rlaif-v", "--where", "chosen_model ~ llava"),
        *("--source", "hf://datasets/openbmb/RLAIF-V-Dataset/RLAIF-V-Dataset_001.parquet"),
    ],
    "rlaif-v-formatted": ["--method", "rlaif-v", "--source", "HuggingFaceH4/rlaif-v_formatted", "--split", "test"],
    "llava-rlhf": ["--method", "llava-rlhf", "--image-root", "COCO"],
    "dress": ["--method", "dress", "--image-root", "COCO"],
    "mix": ["--method", "mix", "--source", "trl-internal-testing/zen-image", "--source", "llamafactory/RLHF-V"],
}


@dataclass(frozen=True)
class Built:
    path: Path
    manifest: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        files = [self.path / entry["path"] for entry in self.manifest["data"]]
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    def texts(self) -> list[tuple[str, str, str]]:
        return [
            (row["prompt"][-1]["content"], row["chosen"][0]["content"], row["rejected"][0]["content"])
            for row in self.rows
        ]


@pytest.fixture(scope="module")
def built(published: Published, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    place = tmp_path_factory.mktemp("built")
    stands_for = {"FIRST": published.commits["MMInstruction/VLFeedback"][0], "COCO": str(published.coco)}
    jobs = [
        ("build", [*(stands_for.get(word, word) for word in words), "--output", str(place / name)])
        for name, words in CASES.items()
    ]
    manifests = published.run(*jobs)
    assert not [manifest for manifest in manifests if "error" in manifest]
    return {name: Built(place / name, manifest) for name, manifest in zip(CASES, manifests, strict=True)}


EXPECTED: dict[str, tuple[int, dict[str, int]]] = {
    "vlfeedback-files": (2, {"equal-ratings": 1, "unrated": 1}),
    "vlfeedback": (2, {"equal-ratings": 1, "unrated": 1}),
    "vlfeedback-all": (3, {"equal-ratings": 2, "unrated": 4}),
    "vlfeedback-one": (2, {"equal-ratings": 1, "unrated": 1}),
    "vlfeedback-llava-prompts": (1, {"filtered": 3}),
    "vlfeedback-gpt4v-chosen": (1, {"filtered": 8}),
    "povid": (3, {"missing-image": 1, "prompts-differ": 1}),
    "rlhf-v": (2, {"malformed": 1}),
    "rlaif-v": (4, {}),
    "rlaif-v-iteration": (1, {"filtered": 1}),
    "rlaif-v-formatted": (1, {}),
    "llava-rlhf": (3, {"no-preference": 1}),
    "dress": (2, {"not-better": 1, "single-turn": 1, "unrated": 1}),
    "mix": (2, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_set_builds(built: dict[str, Built], name: str) -> None:
    made = built[name]
    assert (made.manifest["counts"]["rows"], made.manifest["counts"]["skipped"]) == EXPECTED[name]
    assert made.manifest["model"] is None
    for row in made.rows:
        assert row["chosen"] != row["rejected"]
        assert row["method"] == made.manifest["method"]
        assert all("<image>" not in turn["content"] for turn in row["prompt"])
        assert all(image["bytes"] for image in row["images"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_row_is_trained_on(built: dict[str, Built], split: str, tmp_path: Path) -> None:
    """One step on all rows of all sets that have the split."""
    from mmpref.align.recipe import LoraSettings, TrainRecipe
    from mmpref.align.train import train

    sets = [made for made in built.values() if made.manifest["recipe"]["split"] == split]
    rows = [made.manifest["counts"]["rows"] for made in sets]
    trainer = {
        "max_steps": 1,
        "per_device_train_batch_size": sum(rows),
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3,
    }
    data = tuple(str(made.path) for made in sets)
    done = train(TrainRecipe(MODEL, data, lora=LoraSettings(2, 4, 0.0), trainer=trainer, split=split), tmp_path / "run")
    assert [source["rows"] for source in done["datasets"]] == rows
    assert done["final"]["loss"] == pytest.approx(0.693, abs=0.01), "the first step's loss is log 2"


def test_what_a_set_says(built: dict[str, Built]) -> None:
    assert [(row["id"], row["images"][0]["path"]) for row in built["povid"].rows] == [
        ("000000000009", "train2014/COCO_train2014_000000000009.jpg"),
        ("000000000025", "train2014/COCO_train2014_000000000025.jpg"),
        ("000000000034", "train2017/000000000034.jpg"),
    ]
    assert built["povid"].texts()[1] == (QUESTION, f"{GOOD} 25", f"{BAD} 25")
    assert [(row["source"], row["rejected_model"]) for row in built["rlhf-v"].rows] == [
        ("vqav2", "Muffin"),
        ("LCS-558K", None),
    ]
    writers = [row["chosen_model"] for row in built["rlaif-v"].rows]
    assert writers == ["OmniLMM", "OmniLMM", "llava15_7b", "MiniCPM-V"]
    assert [(row["id"], row["chosen_model"]) for row in built["rlaif-v-iteration"].rows] == [("2", "llava15_7b")]
    assert built["rlaif-v-formatted"].texts() == [(QUESTION, f"{GOOD} 2", BAD)]
    last = built["llava-rlhf"].rows[1]["prompt"]
    assert [turn["role"] for turn in last] == ["user", "assistant"] * 2 + ["user"]
    assert {texts[1:] for texts in built["llava-rlhf"].texts()} == {(GOOD, BAD)}
    assert [row["margin"] for row in built["dress"].rows] == [2.0, 2.0]
    assert set(built["dress"].texts()) == {(QUESTION, GOOD, BAD)}


def test_vlfeedback_pair_rules(built: dict[str, Built]) -> None:
    first, files = built["vlfeedback"].rows, built["vlfeedback-files"].rows
    assert [row["id"] for row in first] == ["llava-reasoning-3730", "svit-conversation-1219#2"]
    assert (first[0]["source"], first[0]["rejected_model"], first[0]["margin"]) == ("llava-reasoning", "llava-7b", 2.0)
    assert first[0]["chosen_model"] in ("gpt4v", "qwen-vl-chat")
    for column in ("id", "chosen", "rejected", "margin"):
        assert [row[column] for row in first] == [row[column] for row in files], "both layouts give the same pairs"
    every = [(row["chosen_model"], row["rejected_model"]) for row in built["vlfeedback-all"].rows]
    assert every == [("gpt4v", "llava-7b"), ("qwen-vl-chat", "llava-7b"), ("a", "b")]


def test_missing_images_are_listed(built: dict[str, Built]) -> None:
    made = built["povid"]
    assert (made.path / "missing-images.txt").read_text() == "./data/coco/COCO_train2014_000000000099.jpg\n"
    report = json.loads((made.path / "report.json").read_text())
    assert report["skipped"]["missing-image"]["first"][0]["id"] == "000000000099"
    assert not (built["rlhf-v"].path / "missing-images.txt").exists()


def test_cards_claim_no_model(built: dict[str, Built]) -> None:
    for name in ("povid", "vlfeedback", "mix"):
        card = (built[name].path / "README.md").read_text()
        assert "no model wrote or judged" in card
        assert "were written by the method" not in card
        assert "--model" not in card
        assert "Pairs resolved per try" not in card
    card = (built["povid"].path / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "--method povid" in card
    assert "--source YiyangAiLab/POVID_preference_data_for_VLLMs" in card
    assert "hf://datasets/llamafactory/RLHF-V@" in (built["mix"].path / "README.md").read_text()


def test_an_older_name_of_a_repository_is_found(built: dict[str, Built]) -> None:
    assert built["rlhf-v"].manifest["source"]["id"] == "HaoyeZhang/RLHF-V-Dataset"


def test_a_set_is_published_without_a_folder_of_this_machine(published: Published, built: dict[str, Built]) -> None:
    from mmpref.hub.publish_run import publish_run

    endpoint, token = published.env["HF_ENDPOINT"], published.env["HF_TOKEN"]
    done = publish_run(built["povid"].path, "openbmb/povid", token=token, endpoint=endpoint)
    api = HfApi(endpoint=endpoint, token=token)
    names = set(api.list_repo_files("openbmb/povid", repo_type="dataset"))
    expected = {"README.md", "data/train-00000-of-00001.parquet", "report.json", "run.json", "statistics.png"}
    expected |= {f"pictures/{file.name}" for file in (built["povid"].path / "pictures").iterdir()}
    assert expected == names - {".gitattributes"}
    content = Path(api.hf_hub_download("openbmb/povid", "run.json", repo_type="dataset", revision=done.commit))
    manifest = json.loads(content.read_text())
    assert (manifest["model"], manifest["recipe"]["image_root"]) == (None, ["/path/to/coco"])
    assert str(built["povid"].path.parent) not in content.read_text()


def test_a_revision_that_is_not_there(published: Published) -> None:
    [refused] = published.run(("build", ["--method", "rlhf-v", "--source-revision", "v9", "--output", "nowhere"]))
    assert "The published set cannot be read." in refused["error"]
    assert "no revision 'v9'" in refused["error"]
    assert not (bare.ROOT / "nowhere").exists()


def test_sft_sources_read(published: Published) -> None:
    root = {"image_root": [str(published.coco)]}
    hub = "hf://datasets/liuhaotian/LLaVA-Instruct-150K"
    whole, mixed, vsft, trl, refused, absent, split = published.run(
        ("read", {"source": f"{hub}/llava_instruct_150k.json", **root}),
        ("read", {"source": f"{hub}@main/llava_v1_5_mix665k.json", **root}),
        ("read", {"source": "HuggingFaceH4/llava-instruct-mix-vsft"}),
        ("read", {"source": "trl-lib/llava-instruct-mix"}),
        ("read", {"source": f"{hub}/README.md"}),
        ("read", {"source": f"{hub}/llava_instruct_80k.json"}),
        ("read", {"source": f"{hub}/llava_instruct_150k.json", "split": "test"}),
    )
    same = {"prompt": QUESTION, "answer": GOOD, "images": 1}
    assert whole["rows"] == [{"id": "000000000009", **same}, {"id": "000000000034", **same}]
    assert mixed["rows"][0] == {"id": "000000000025", **same}
    assert [(row["id"], row["reason"]) for row in mixed["rows"][1:]] == [
        ("text-only", "no-image"),
        ("vg1", "missing-image"),
    ]
    assert vsft["rows"] == trl["rows"] == [{"id": "0", **same}]
    assert "has no split 'test'" in split["error"]
    assert "names no data file" in refused["error"]
    assert "has no file llava_instruct_80k.json" in absent["error"]
    assert "llava_instruct_150k.json" in absent["error"]


def test_a_loading_script_is_never_run(published: Published) -> None:
    commit = published.commits["MMInstruction/VLFeedback"][0]
    [refused] = published.run(("read", {"source": f"hf://datasets/MMInstruction/VLFeedback@{commit}"}))
    assert "has a loading script, which is not run, and 2 data files" in refused["error"]
    assert "vlfeedback_80k.jsonl" in refused["error"]
