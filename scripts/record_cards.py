"""Render an example card for each kind of dataset and each training method: python scripts/record_cards.py [NAME...].

Every example is built or trained on the testbed by the command that its card shows, published to a Hub-protocol server
on loopback, and what a visitor sees there (card, facts, picture) is kept in dataset_cards/ or model_cards/. The
reproduction's own cards, testbed-bdhs and testbed-bdhs-dpo, are recorded by scripts/check_published.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.data.published import shapes
from tests.hub.server import HubServer

ROOT = Path(__file__).parents[1]
USER, POVID = "someone", "YiyangAiLab/POVID_preference_data_for_VLLMs"
DATASETS: dict[str, list[str]] = {
    "testbed-masking": ["--method", "masking", "--limit", "400"],
    "testbed-corrupt": ["--method", "corrupt", "--limit", "400"],
    "testbed-candidates": ["--method", "candidates", "--limit", "1200", "--set", "builder.temperature=1"],
    "testbed-two-rejected": ["--source", "BUILT/testbed-corrupt", "--set", "keep_rejected=true"],
    "testbed-union": [
        "--method",
        "mix",
        "--source",
        "BUILT/testbed-masking",
        "--source",
        "BUILT/testbed-corrupt",
        "--validation",
        "0.1",
    ],
    "published-povid": ["--method", "povid", "--image-root", "BUILT/coco"],
}
ADAPTERS: dict[str, list[str]] = {
    method: ["--method", method, "--dataset", f"BUILT/{data}", *more]
    for method, data, more in (
        ("ipo", "testbed-corrupt", []),
        ("slic", "testbed-corrupt", []),
        ("mpo", "testbed-corrupt", []),
        ("mdpo", "testbed-corrupt", []),
        ("reward-model", "testbed-corrupt", ["--set", "loss.held_out=[BUILT/testbed-masking]"]),
        ("rloo", "testbed-corrupt", ["--limit", "100"]),
        ("sft", "testbed-corrupt", []),
        ("avg-dpo", "testbed-two-rejected", []),
        ("online-dpo", "testbed-corrupt", []),
        ("mixed-dpo", "testbed-corrupt", []),
        ("online-bdhs", "testbed-corrupt", []),
        ("povid", "testbed-corrupt", []),
    )
}
FILES = ("README.md", "run.json", "statistics.png", "training.png")


def made(place: Path, environment: dict[str, str], command: str, name: str, words: list[str]) -> Path:
    """Build or train an example, and publish it."""
    words = [word.replace("BUILT", str(place)) for word in words]
    kind = "dataset" if command == "build-dataset" else "model"
    more = [] if kind == "dataset" else ["--base-hub-id", f"{USER}/testbed"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "mmpref",
            command,
            *words,
            "--output",
            str(place / name),
            f"--hub-{kind}-id",
            f"{USER}/{name}",
            *more,
        ],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return place / name


def record(server: HubServer, kind: str, name: str, folder: Path) -> None:
    """Keep what a visitor of the repository sees first."""
    prefix = "" if kind == "model" else "datasets/"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("pictures/*"):
        old.unlink()
    for file in FILES:
        address = f"{server.endpoint}/{prefix}{USER}/{name}/resolve/main/{file}"
        try:
            with urllib.request.urlopen(address) as answer:
                (folder / file).write_bytes(answer.read())
        except urllib.error.HTTPError:
            (folder / file).unlink(missing_ok=True)
    for file in pictures_in(folder / "README.md"):
        with urllib.request.urlopen(f"{server.endpoint}/{prefix}{USER}/{name}/resolve/main/{file}") as answer:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(answer.read())


def pictures_in(card: Path) -> list[str]:
    """The pictures of sample pairs that a card shows."""
    return re.findall(r"\((pictures/[\w.-]+)\)", card.read_text(encoding="utf-8"))


def main() -> None:
    wanted = sys.argv[1:]
    with HubServer() as server, tempfile.TemporaryDirectory() as home:
        place = Path(home)
        token, theirs = server.store.add_user(USER), server.store.add_user(POVID.split("/")[0])
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": token,
            "HF_HOME": f"{home}/hf",
            "HF_HUB_DISABLE_XET": "1",
        }
        from huggingface_hub import HfApi

        shapes.coco(place / "coco")
        povid = place / "raw"
        povid.mkdir()
        shapes.REPOSITORIES[POVID][-1](povid)
        api = HfApi(endpoint=server.endpoint, token=theirs)
        api.create_repo(POVID, repo_type="dataset")
        api.upload_folder(repo_id=POVID, repo_type="dataset", folder_path=povid)
        HfApi(endpoint=server.endpoint, token=token).create_repo(f"{USER}/testbed")
        needed = {
            found
            for name in wanted
            for word in ADAPTERS.get(name, DATASETS.get(name, []))
            for found in re.findall(r"BUILT/([\w-]+)", word)
        }
        needed |= {"testbed-corrupt"} if "testbed-two-rejected" in needed else set()
        for name, words in DATASETS.items():
            if not wanted or name in wanted or name in needed:
                made(place, environment, "build-dataset", name, words)
                record(server, "dataset", name, ROOT / "dataset_cards" / name)
        for name, words in ADAPTERS.items():
            if not wanted or name in wanted:
                made(place, environment, "train", f"testbed-{name}", words)
                record(server, "model", f"testbed-{name}", ROOT / "model_cards" / f"testbed-{name}")


if __name__ == "__main__":
    main()
