"""docs/python.md runs as it is printed: in a process of its own, with the files of the wheel, offline."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests import bare

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `pip install` would bring, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def run(script: str, folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    return bare.python(script, environment=environment, folder=folder)


def save_photos(folder: Path, photos: list[dict[str, Any]]) -> None:
    (folder / "photos").mkdir()
    lines = ["image,question,answer"]
    for number, row in enumerate(photos):
        row["image"].save(folder / "photos" / f"{number}.png")
        lines.append(f"{number}.png,{row['question']},{row['answer']}")
    (folder / "photos" / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.long
def test_the_examples_run_as_they_are_printed(photos: list[dict[str, Any]], tmp_path: Path, wheel: Path) -> None:
    assert len(BLOCKS) >= 4
    save_photos(tmp_path, photos)
    shown = "for result in (pairs, adapter, scores, mine): assert '<table>' in result._repr_html_(), print(result)\n"
    done = run("\n".join([*BLOCKS, "assert len(frame) == 10\n", shown]), tmp_path, wheel)
    assert done.returncode == 0, done.stderr[-3000:]
    manifests = {path.name: json.loads((path / "run.json").read_text()) for path in (tmp_path / "runs").iterdir()}
    assert set(manifests) == {"pairs", "adapter", "scores", "mine"}
    assert manifests["mine"]["source"]["id"] == "rows in memory"
    assert manifests["pairs"]["recipe"]["builder"]["rho_th"] == 0.98
    assert manifests["adapter"]["recipe"]["trainer"]["per_device_train_batch_size"] == 16


def test_ten_photos_in_a_frame_become_a_dataset(photos: list[dict[str, Any]], tmp_path: Path, wheel: Path) -> None:
    """The notebook's example by itself; the same call in another process goes on, as its rows are the same."""
    save_photos(tmp_path, photos)
    [example] = [block for block in BLOCKS if "read_csv" in block]
    script = "import mmpref\n" + example + "print(mine.manifest['seconds'], mine.load().num_rows)\n"
    first, second = (run(script, tmp_path, wheel) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr[-2000:] + second.stderr[-2000:]
    assert first.stdout == second.stdout
    assert first.stdout.split()[1] == "10"
