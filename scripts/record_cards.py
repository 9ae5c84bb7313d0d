"""Render an example card for each kind of dataset and each training method.

    python scripts/record_cards.py [--runs FOLDER] [NAME...]

Every example is built or trained on the testbed by the command that its card shows, from what was published before it,
and an adapter is evaluated against its base. All of it goes to a Hub-protocol server on loopback, and what a visitor
sees there (card, facts, pictures) is kept in dataset_cards/ or model_cards/. With --runs the runs are kept in FOLDER,
and those that are finished there are published as they are: what a change of the cards needs. The reproduction's own
cards, testbed-bdhs and testbed-bdhs-dpo, are recorded by scripts/check_published.py.
"""

from __future__ import annotations

import argparse
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

from tests.data.published import files, shapes
from tests.hub.server import HubServer

ROOT = Path(__file__).parents[1]
USER, POVID = "someone", "YiyangAiLab/POVID_preference_data_for_VLLMs"
CORRUPT, MASKING = f"{USER}/testbed-corrupt", f"{USER}/testbed-masking"
DATASETS: dict[str, list[str]] = {
    "testbed-corrupt": ["--method", "corrupt", "--limit", "400"],
    "published-povid": ["--method", "povid", "--image-root", "RUNS/coco"],
    "testbed-masking": ["--method", "masking", "--limit", "400"],
    "testbed-union": ["--method", "mix", "--source", MASKING, "--source", CORRUPT, "--validation", "0.1"],
    "testbed-two-rejected": ["--source", CORRUPT, "--set", "keep_rejected=true"],
    "testbed-candidates": ["--method", "candidates", "--limit", "1200", "--set", "builder.temperature=1"],
}
ADAPTERS: dict[str, list[str]] = {
    f"testbed-{method}": ["--method", method, "--dataset", data, *more]
    for method, data, more in (
        ("povid", CORRUPT, []),
        ("ipo", CORRUPT, []),
        ("slic", CORRUPT, []),
        ("reward-model", CORRUPT, ["--set", f"loss.held_out=[{MASKING}]"]),
        ("online-bdhs", CORRUPT, []),
        ("mpo", CORRUPT, []),
        ("avg-dpo", f"{USER}/testbed-two-rejected", []),
        ("mdpo", CORRUPT, []),
        ("sft", CORRUPT, []),
        ("rloo", CORRUPT, ["--limit", "100"]),
        ("mixed-dpo", CORRUPT, ["--limit", "200"]),
        ("online-dpo", CORRUPT, ["--limit", "200"]),
    )
}
EVALUATION = ["--benchmark", "chair", "--limit", "200"]
EVALUATIONS = {"testbed-reward-model": ["--benchmark", "reward-model"]}
"""Of what writes no answers."""
FILES = ("README.md", "run.json", "statistics.png", "training.png")
KINDS = {"build-dataset": "dataset", "train": "model", "evaluate": "model"}


def made(runs: Path, environment: dict[str, str], command: str, name: str, repo: str, words: list[str]) -> None:
    """Build, train or evaluate an example, where it is not finished, and publish it.

    Args:
        name: of its folder in `runs`.
        repo: the repository's name.
    """
    folder = runs / name
    option = [f"--hub-{KINDS[command]}-id", f"{USER}/{repo}"]
    base = ["--base-hub-id", f"{USER}/testbed"] if command == "train" else []
    if (folder / "run.json").is_file():
        parts = ["publish", str(folder), *option, *base]
    else:
        parts = [command, *(word.replace("RUNS", str(runs)) for word in words), "--output", str(folder), *option, *base]
    subprocess.run([sys.executable, "-m", "mmpref", *parts], env=environment, check=True, stdout=subprocess.DEVNULL)


def record(server: HubServer, kind: str, name: str, folder: Path) -> None:
    """Keep what a visitor of the repository sees first."""
    address = f"{server.endpoint}/{'datasets/' if kind == 'dataset' else ''}{USER}/{name}/resolve/main"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("pictures/*"):
        old.unlink()
    for file in FILES:
        try:
            with urllib.request.urlopen(f"{address}/{file}") as answer:
                (folder / file).write_bytes(answer.read())
        except urllib.error.HTTPError:
            (folder / file).unlink(missing_ok=True)
    for file in pictures_in(folder / "README.md"):
        with urllib.request.urlopen(f"{address}/{file}") as answer:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(answer.read())


def pictures_in(card: Path) -> list[str]:
    """The pictures of sample pairs that a card shows."""
    return re.findall(r"\((pictures/[\w.-]+)\)", card.read_text(encoding="utf-8"))


def needed(names: list[str]) -> set[str]:
    """Examples, and the datasets that they are made from."""
    words = [word for name in names for word in (ADAPTERS | DATASETS)[name]]
    sources = [found for word in words for found in re.findall(rf"{USER}/([\w-]+)", word)]
    return {*names, *(needed(sources) if sources else ())}


def main() -> None:
    parser = argparse.ArgumentParser(description="Render example cards.")
    parser.add_argument("--runs", type=Path, help="a folder that keeps the runs")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *DATASETS, *ADAPTERS])
    options = parser.parse_args()
    wanted = needed(options.names or [*DATASETS, *ADAPTERS])
    with HubServer() as server, tempfile.TemporaryDirectory() as home:
        runs = (options.runs or Path(home) / "runs").resolve()
        runs.mkdir(parents=True, exist_ok=True)
        token, theirs = server.store.add_user(USER), server.store.add_user(POVID.split("/")[0])
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": token,
            "HF_HOME": f"{home}/hf",
            "HF_HUB_DISABLE_XET": "1",
            "MMPREF_ANSWERS": str(runs / "answers"),  # the base is asked once
        }
        from huggingface_hub import HfApi

        if not (runs / "coco").exists():
            files.coco(runs / "coco")
        povid = Path(home) / "raw"
        povid.mkdir()
        shapes.REPOSITORIES[POVID][-1](povid)
        api = HfApi(endpoint=server.endpoint, token=theirs)
        api.create_repo(POVID, repo_type="dataset")
        api.upload_folder(repo_id=POVID, repo_type="dataset", folder_path=povid)
        HfApi(endpoint=server.endpoint, token=token).create_repo(f"{USER}/testbed")
        for name, words in DATASETS.items():
            if name in wanted:
                made(runs, environment, "build-dataset", name, name, words)
                record(server, "dataset", name, ROOT / "dataset_cards" / name)
        for name, words in ADAPTERS.items():
            if name in wanted:
                made(runs, environment, "train", name, name, words)
                asked = ["--adapter", f"RUNS/{name}", *EVALUATIONS.get(name, EVALUATION)]
                made(runs, environment, "evaluate", f"evaluation-{name}", name, asked)
                record(server, "model", name, ROOT / "model_cards" / name)


if __name__ == "__main__":
    main()
